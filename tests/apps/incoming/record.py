"""A server that takes what it can make sense of, and answers each request with a function of its very bytes.

record.py PORT...: however the bytes come, the same ones get the same answers. What is left over at the end is
answered, too, so that nothing can be lost unseen. The end of the input has it tell how many requests there were.
"""
import asyncio, re, sys, zlib

HEAD_END = re.compile(rb"\n\r?\n")
SIZE = re.compile(rb"[ \t]*\+?(?:0x)?([0-9a-f]{1,8})", re.I)
served = 0


class Left(Exception):
    """The client has ended in the middle of something."""


class Connection:
    def __init__(self, reader, writer):
        self.reader, self.writer, self.data, self.raw = reader, writer, b"", b""

    async def more(self):
        got = await self.reader.read(65536)
        if not got:
            raise Left
        self.data += got

    def take(self, count):
        taken, self.data = self.data[:count], self.data[count:]
        self.raw += taken
        return taken

    async def head(self):
        while not (end := HEAD_END.search(self.data)):
            await self.more()
        return self.take(end.end())

    async def line(self):
        while b"\n" not in self.data:
            await self.more()
        return self.take(self.data.index(b"\n") + 1)

    async def bytes(self, count):
        while count > 0:
            if not self.data:
                await self.more()
            count -= len(self.take(count))

    async def chunks(self):
        """Whether the body made sense."""
        while True:
            size = SIZE.match(await self.line())
            if not size:
                return False
            if int(size[1], 16) == 0:
                break
            await self.bytes(int(size[1], 16))
            await self.line()
        while (await self.line()).strip():
            pass
        return True

    def say(self, text):
        self.writer.write(text)

    def digest(self):
        return b"%08x %d\n" % (zlib.crc32(self.raw), len(self.raw))

    def answer(self, method, path, good, closes):
        body = self.digest()
        # Where only the end of the connection tells the end of the answer, nothing else does.
        tells = closes and (path != b"/end" or method == b"HEAD")
        fields = b"Connection: close\r\n" if tells else b""
        status = b"200 OK" if good else b"400 Bad Request"
        if path == b"/hints":
            self.say(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        if path == b"/none":
            return self.say(b"HTTP/1.1 204 No Content\r\nX-Seen: " + body.strip() + b"\r\n" + fields + b"\r\n")
        if path == b"/same":
            return self.say(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\n" + fields + b"\r\n")
        if path == b"/large":
            body *= 3000
        if path == b"/end":
            text = b""
        elif path == b"/chunked":
            fields += b"Transfer-Encoding: chunked\r\n"
            text = b"5;x=y\r\n" + body[:5] + b"\r\n%X\r\n" % len(body[5:]) + body[5:] + b"\r\n0\r\nX-End: 1\r\n\r\n"
        else:
            fields += b"Content-Length: %d\r\n" % len(body)
            text = body
        self.say(b"HTTP/1.1 " + status + b"\r\n" + fields + b"\r\n")
        if method != b"HEAD":
            self.say(body if path == b"/end" else text)

    async def request(self):
        """Whether another may follow."""
        global served
        self.raw = b""
        head = await self.head()
        served += 1
        first, *lines = head.split(b"\n")
        method, target, version = (first.split() + [b""] * 3)[:3]
        path = target.split(b"?")[0]
        length, chunked, keeps, closes = 0, False, version != b"HTTP/1.0", path in (b"/close", b"/end")
        for line in lines:
            name, _, value = line.partition(b":")
            name, value = name.strip().lower(), value.strip().lower()
            if name == b"content-length" and (number := re.search(rb"\d+", value)):
                length = min(int(number[0]), 1 << 20)
            elif name == b"transfer-encoding":
                chunked |= b"chunked" in value
            elif name == b"connection":
                closes |= b"close" in value
                keeps |= b"keep-alive" in value
            elif name == b"expect":
                self.say(b"HTTP/1.1 100 Continue\r\n\r\n")
            elif name == b"upgrade":
                self.say(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
                self.raw = b""
                while True:
                    self.say(self.take(len(self.data)).swapcase())
                    await self.more()
        closes |= not keeps
        if path == b"/early":
            self.answer(method, path, True, closes)
        good = True
        if chunked:
            good = await self.chunks()
        else:
            await self.bytes(length)
        if path != b"/early":
            self.answer(method, path, good, closes or not good)
        return good and not closes

    async def serve(self):
        try:
            while await self.request():
                await self.writer.drain()
            self.writer.write_eof()
            while await self.reader.read(65536):
                pass
        except Left:
            self.raw += self.data
            if self.raw:
                self.say(b"left " + self.digest())
        except ConnectionError:
            pass
        self.writer.close()


async def main():
    ports = [int(port) for port in sys.argv[1:]]
    serve = lambda reader, writer: Connection(reader, writer).serve()
    servers = [await asyncio.start_server(serve, "0.0.0.0", port, limit=1 << 20) for port in ports]
    print("listens", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print("served", served, flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main())
