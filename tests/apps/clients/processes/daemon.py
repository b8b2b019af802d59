"""Becomes a daemon as programs do: two forks, a session of its own, no descriptor of before. Then asks the cluster."""

import os
import resource
import urllib.request

if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
os.umask(0)
os.closerange(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
for descriptor in range(3):
    os.open(os.devnull, os.O_RDWR)
answer = urllib.request.urlopen("http://echo-server/bytes/5", timeout=20).read().decode()
with open("answer", "w") as file:
    file.write(answer)
