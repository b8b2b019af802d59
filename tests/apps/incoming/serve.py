"""Says who it is: HTTP/1.1 with bodies of all kinds and WebSockets, bytes as they came, and a greeting.

Arguments: name, first of three ports.
"""

import base64
import hashlib
import http.server
import socketserver
import sys
import threading
import time

NAME, PORT = sys.argv[1], int(sys.argv[2])


class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            left = int(self.headers.get("Content-Length", 0))
            while left:
                part = self.rfile.read(min(left, 1 << 16))
                left -= len(part)
                yield part

    def answer(self):
        if self.headers.get("Upgrade") == "websocket":
            return self.talk()
        if self.headers.get("User-Agent", "").startswith("kube-probe"):
            return self.whole(b"healthy")
        print(NAME, self.command, self.path, "begins", flush=True)
        count, digest = 0, hashlib.sha256()
        for part in self.body():
            count += len(part)
            digest.update(part)
        print(NAME, self.command, self.path, flush=True)
        kind, _, argument = self.path[1:].partition("/")
        if kind == "sleep":
            time.sleep(float(argument))
        if kind == "bytes":
            self.whole(bytes(int(argument)))
        elif kind == "chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for _ in range(int(argument)):
                self.wfile.write(b"5;a=b\r\nchunk\r\n")
            self.wfile.write(b"0\r\nTrailer: %s\r\n\r\n" % NAME.encode())
        else:
            self.close_connection |= kind == "close"
            self.whole(f"{NAME} {self.command} {self.path} {count} {digest.hexdigest()[:8]}\n".encode())

    def whole(self, text):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def talk(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        for name, value in ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept):
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        while head := self.rfile.read(2):
            mask, text = self.rfile.read(4), self.rfile.read(head[1] & 127)
            text = NAME.encode() + b" " + bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))
            self.wfile.write(bytes([head[0], len(text)]) + text)

    def log_message(self, *_):
        pass


class Raw(socketserver.StreamRequestHandler):
    """Tells what came, byte for byte, once the client has ended."""

    def handle(self):
        text = self.rfile.read()
        print(NAME, "got", text, flush=True)
        self.wfile.write(b"%s %r" % (NAME.encode(), text))


class Greeting(socketserver.StreamRequestHandler):
    """Speaks first."""

    def handle(self):
        self.wfile.write(b"220 %s\r\n" % NAME.encode())
        for line in self.rfile:
            self.wfile.write(b"250 %s" % line)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


servers = [Server(("", PORT + at), handler) for at, handler in enumerate((Http, Raw, Greeting))]
print("serves", flush=True)
for server in servers[1:]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
servers[0].serve_forever()
