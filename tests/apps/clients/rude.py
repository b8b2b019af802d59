"""Peers on bad days: each connection tells what a program sees of them, and none delays another."""

import select
import socket
import urllib.request
import uuid

PATIENCE = 20


def connect(port):
    return socket.create_connection(("echo-server", port), PATIENCE)


def ask(path="/bytes/5"):
    return urllib.request.urlopen(f"http://echo-server{path}", timeout=PATIENCE).read().decode().strip()


def fill(connection):
    """Sends until nothing more is taken for a second; the number of bytes."""
    connection.setblocking(False)
    sent, chunk = 0, b"x" * 65536
    while select.select([], [connection], [], 1)[1]:
        try:
            sent += connection.send(chunk)
        except BlockingIOError:
            pass
    return sent


with connect(7003) as deaf, connect(7004) as endless:
    print("never-reads", "bounded" if 65536 < fill(deaf) < 32 << 20 else "unbounded")
    # Nobody reads from `endless` yet.
    print("meanwhile", ask())
    got = 0
    while got < 20_000_000:
        got += len(endless.recv(1 << 20))
    print("sends-without-end", got >= 20_000_000)
print("afterwards", ask())

with connect(7005) as connection:
    connection.sendall(b"x")
    try:
        print("reset", connection.recv(10))
    except OSError as error:
        print("reset", error.strerror)

with connect(7006) as connection:
    print("half-closed", connection.recv(10))
    name = str(uuid.uuid4())
    connection.sendall(name.encode() + b"\n" + b"x" * 3_000_000)
print("read-all-the-same", ask(f"/half-closed/{name}"))

with connect(7007) as connection:
    told = connection.makefile().read().split()
    print("peer", told[1].split(":")[0] == connection.getsockname()[0])
