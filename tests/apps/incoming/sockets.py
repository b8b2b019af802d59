"""A WebSocket client of the usual kind: sockets.py URL [HEADER VALUE]."""
import asyncio, sys
import aiohttp


async def main(url, *header):
    async with aiohttp.ClientSession(headers=dict([header]) if header else {}) as session:
        async with session.ws_connect(url, max_msg_size=1 << 24) as socket:
            for length in (0, 5, 125, 126, 65535, 65536, 1000000):
                text = "x" * length
                await socket.send_str(text)
                name, _, echo = (await socket.receive_str()).partition(" ")
                assert echo == text, length
                await socket.send_bytes(bytes(length))
                assert await socket.receive_bytes() == bytes(length), length
            await socket.ping(b"still there?")
            await socket.send_str("last")
            print(await socket.receive_str())
        print(socket.close_code)


asyncio.run(main(*sys.argv[1:]))
