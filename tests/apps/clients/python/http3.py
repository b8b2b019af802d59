"""HTTP/3 by two client libraries: libcurl with ngtcp2 (pycurl), and aioquic. Usage: http3.py CA-FILE"""

import asyncio
import io
import sys

import pycurl
from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration

CA = sys.argv[1]


def by_curl(path):
    body = io.BytesIO()
    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, f"https://echo-server{path}")
    curl.setopt(pycurl.CAINFO, CA)
    curl.setopt(pycurl.TIMEOUT, 20)
    curl.setopt(pycurl.HTTP_VERSION, 31)  # CURL_HTTP_VERSION_3ONLY
    curl.setopt(pycurl.WRITEDATA, body)
    curl.perform()
    version = {30: "HTTP/3"}.get(curl.getinfo(46 + 0x200000), "older")  # CURLINFO_HTTP_VERSION
    return f"{curl.getinfo(pycurl.RESPONSE_CODE)} {len(body.getvalue())} {version}"


class Client(QuicConnectionProtocol):
    """One request on one connection."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.http, self.body = H3Connection(self._quic), b""
        self.done = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event):
        for event in self.http.handle_event(event):
            if isinstance(event, HeadersReceived):
                self.status = dict(event.headers)[b":status"].decode()
            if isinstance(event, DataReceived):
                self.body += event.data
            if isinstance(event, (HeadersReceived, DataReceived)) and event.stream_ended:
                self.done.set_result(f"{self.status} {len(self.body)} HTTP/3")

    async def get(self, path):
        headers = {":method": "GET", ":scheme": "https", ":authority": "echo-server", ":path": path}
        stream = self._quic.get_next_available_stream_id()
        self.http.send_headers(stream, [(k.encode(), v.encode()) for k, v in headers.items()], end_stream=True)
        self.transmit()
        return await asyncio.wait_for(self.done, 20)


async def by_aioquic(path):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=["h3"])
    configuration.load_verify_locations(CA)
    async with connect("echo-server", 443, configuration=configuration, create_protocol=Client) as client:
        return await client.get(path)


for path in "/bytes/5", "/bytes/1000000":
    print("curl", by_curl(path))
    print("aioquic", asyncio.run(by_aioquic(path)))
