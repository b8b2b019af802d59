"""Says the same to two ports and tells what is answered differently.

compare.py ADDRESS PORT OTHER: each line of the input is a connection: a number that says where its bytes are cut, and
its requests in hexadecimal digits. The first difference is told with as few of its requests as show it.
"""
import asyncio, random, sys

AT_ONCE = 16
PATIENCE = 20
address, ports = sys.argv[1], [int(port) for port in sys.argv[2:4]]


async def talk(port, cuts, requests):
    """All that is heard until the end, and which end it is."""
    reader, writer = await asyncio.open_connection(address, port)
    heard = bytearray()

    async def hear():
        while got := await reader.read(65536):
            heard.extend(got)

    async def say():
        rest, choice = b"".join(requests), random.Random(cuts)
        while rest:
            count = choice.choice([1, 7, 100, 2000, len(rest)])
            writer.write(rest[:count])
            rest = rest[count:]
            await writer.drain()
            if choice.random() < 0.2:
                await asyncio.sleep(0.001)
        writer.write_eof()

    async def both():
        hearing = asyncio.create_task(hear())
        try:
            await say()
        except ConnectionError:
            pass
        await hearing

    try:
        await asyncio.wait_for(both(), PATIENCE)
        end = "end"
    except (asyncio.TimeoutError, ConnectionError, OSError) as error:
        end = type(error).__name__
    writer.close()
    return bytes(heard), end


async def differs(cuts, requests):
    one, other = await asyncio.gather(*(talk(port, cuts, requests) for port in ports))
    return None if one == other else (one, other)


async def fewest(cuts, requests, found):
    """Leaves out what is not needed for a difference."""
    for index in reversed(range(len(requests))):
        fewer = requests[:index] + requests[index + 1 :]
        if fewer and (difference := await differs(cuts, fewer)):
            requests, found = fewer, difference
    return requests, found


def shown(text):
    return repr(text) if len(text) < 2000 else f"{text[:1000]!r} … {text[-1000:]!r} ({len(text)} bytes)"


async def main():
    lines = [line.split() for line in sys.stdin]
    todo = list(enumerate(lines))[::-1]

    async def work():
        while todo:
            number, (cuts, *requests) = todo.pop()
            requests = [bytes.fromhex(request) for request in requests]
            if found := await differs(cuts, requests):
                todo.clear()
                return number, cuts, requests, found

    found = [one for one in await asyncio.gather(*(work() for _ in range(AT_ONCE))) if one]
    if found:
        number, cuts, requests, difference = min(found)
        requests, difference = await fewest(cuts, requests, difference)
        print(f"connection {number} differs, of which is enough:")
        for request in requests:
            print("  said", shown(request))
        for port, (heard, end) in zip(ports, difference):
            print(f"  heard on {port}, {end}:", shown(heard))
    print("compared", len(lines), "differences", len(found), flush=True)


asyncio.run(main())
