"""Clients of `serve.py`. Arguments: address, first port, what to do. Prints what is answered."""

import base64
import http.client
import os
import socket
import sys

ADDRESS, PORT = sys.argv[1], int(sys.argv[2])


def connect(offset=0):
    client = socket.create_connection((ADDRESS, PORT + offset), timeout=20)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def keep():
    """Alternates between both on one connection."""
    client = http.client.HTTPConnection(ADDRESS, PORT, timeout=20)
    own = {"X-User": "me"}
    for number, (method, headers, body) in enumerate(
        [("GET", {}, None), ("GET", own, None), ("PUT", own, b"x" * 70_000), ("PUT", {}, b"x" * 70_000)] * 3
        + [("HEAD", own, None), ("HEAD", {}, None), ("POST", own, iter([b"abc", b"defg"])), ("DELETE", {}, None)]
    ):
        client.request(method, f"/{number}", body, headers)
        print(method, number, client.getresponse().read().decode().split())
    for headers in {}, own:
        client.request("GET", "/chunks/3", headers=headers)
        print(client.getresponse().read())


def pipeline():
    """Sends ten requests before it reads an answer, then ends its direction."""
    client = connect()
    for number in range(10):
        user = "X-User: me\r\n" if number % 3 == 0 else ""
        body = "a" * number
        client.sendall(f"PUT /{number} HTTP/1.1\r\nHost: a\r\n{user}Content-Length: {number}\r\n\r\n{body}".encode())
    client.shutdown(socket.SHUT_WR)
    answers = client.makefile("rb").read().decode()
    print("\n".join(line for line in answers.split("\n") if " PUT " in line))


def talk():
    """Speaks to both as a WebSocket."""
    for user in "X-User: me\r\n", "":
        client = connect()
        key = base64.b64encode(os.urandom(16)).decode()
        client.sendall(
            f"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{user}"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        answers = client.makefile("rb")
        print(answers.readline().decode().strip())
        while answers.readline().strip():
            pass
        for text in b"hello", b"PUT / HTTP/1.1", b"":
            client.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
            head = answers.read(2)
            print(answers.read(head[1] & 127).decode())
        client.shutdown(socket.SHUT_WR)
        print("ends" if not answers.read() else "goes on")


def bytes_as_they_come():
    """What is no clear HTTP is the application's, to the byte."""
    own = b"X-User: me\r\n"
    for text in [
        b"PUT / HTTP/1.1\r\n" + own + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        b"PUT / HTTP/1.1\r\n" + own + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        b"PUT / HTTP/1.1\r\n" + own + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"PUT / HTTP/1.1\r\n" + own + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\n" + own + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-User: me\r\n folded\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\n" + own + b"\r\n",
        b"GET /part HTTP/1.1\r\n" + own,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"*1\r\n$4\r\nPING\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nno frames",
        b"hello",
        b"",
    ]:
        client = connect(1)
        client.sendall(text)
        client.shutdown(socket.SHUT_WR)
        answer = client.makefile("rb").read()
        print("as sent" if answer == b"pod %r" % text else f"{text!r} became {answer!r}")


def greeting():
    """A server that speaks first is heard at once."""
    answers = connect(2).makefile("rwb", buffering=0)
    print(answers.readline().decode().strip())
    answers.write(b"EHLO me\n")
    print(answers.readline().decode().strip())


def lines():
    """Asks on one connection what each line says: a user and a path. Connects again when it must."""
    client = http.client.HTTPConnection(ADDRESS, PORT, timeout=30)
    for line in sys.stdin:
        user, path = line.split()
        client.request("GET", path, headers={"X-User": user})
        answer = client.getresponse()
        print(answer.status, answer.read().decode().strip(), flush=True)


globals()[sys.argv[3]]()
