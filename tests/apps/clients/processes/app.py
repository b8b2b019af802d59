"""A web application for any server of Python: answers what it asked of the cluster, and who it is."""

import os
import urllib.request


def answer():
    body = urllib.request.urlopen("http://echo-server/bytes/5", timeout=10).read()
    return body + b" from " + str(os.getpid()).encode()


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": answer()})


def wsgi(environment, start):
    start("200 OK", [("Connection", "close")])
    return [answer()]
