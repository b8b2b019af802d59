"""Unix sockets of the pod: streams and datagrams, by path and by abstract name; and one that only this machine has."""

import os
import socket
import sys


def shown(connected):
    name = connected.getpeername()
    return name if isinstance(name, str) else name.decode().replace("\0", "@")


def stream(name):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(name)
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
        return f"{answer.decode()} from {shown(connection)}"


def datagram(name):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(10)
        sender.bind("")
        sender.connect(name)
        sender.send(b"hello")
        return f"{sender.recv(100).decode()} from {shown(sender)}"


def check(label, ask, name):
    try:
        print(label, ask(name), flush=True)
    except OSError as error:
        print(label, error.strerror, flush=True)


check("stream", stream, "/run/test/stream.sock")
check("abstract-stream", stream, "\0mirror-test-stream")
check("datagram", datagram, "/run/test/datagram.sock")
check("abstract-datagram", datagram, "\0mirror-test-datagram")
check("absent", stream, "/run/test/absent.sock")
if len(sys.argv) > 1:
    here = os.path.join(os.getcwd(), "here.sock")
    server = socket.socket(socket.AF_UNIX)
    server.bind(here)
    server.listen()
    with socket.socket(socket.AF_UNIX) as local:
        local.connect(here)
        print("local", local.getpeername() == here)
