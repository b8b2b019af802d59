"""The client in Python: urllib, requests, aiohttp, sockets, ssl, getaddrinfo, dnspython and c-ares.

One line for each check: its name, what came of it. Usage: client.py CA-FILE
"""

import asyncio
import errno
import socket
import ssl
import sys
import urllib.error
import urllib.request

import aiodns
import aiohttp
import dns.exception
import dns.resolver
import requests

CA = sys.argv[1]
PATIENCE = 10
EAI = {getattr(socket, name): name for name in dir(socket) if name.startswith("EAI_")}


def check(name, ask, *arguments):
    print(name, ask(*arguments), flush=True)


def http_raw():
    with socket.create_connection(("echo-server", 80), PATIENCE) as connection:
        connection.sendall(b"GET /bytes/5 HTTP/1.1\r\nHost: echo-server\r\nConnection: close\r\n\r\n")
        answer = connection.makefile("rb").read().decode()
    return f"{answer.split()[1]} {answer[-5:]}"


def http_urllib(url, context=None):
    try:
        answer = urllib.request.urlopen(url, timeout=PATIENCE, context=context)
    except urllib.error.URLError as error:
        assert isinstance(error.reason, ssl.SSLCertVerificationError), error
        return "untrusted"
    return f"{answer.status} {answer.read().decode()}"


def http_requests(url):
    with requests.Session() as session:
        answers = [session.get(url, timeout=PATIENCE, verify=CA) for _ in range(2)]
    return f"{answers[1].status_code} {answers[1].text}"


def http_aiohttp(url, resolver):
    async def ask():
        context = ssl.create_default_context(cafile=CA)
        connector = aiohttp.TCPConnector(ssl=context, resolver=resolver())
        timeout = aiohttp.ClientTimeout(PATIENCE)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            async with session.get(url) as answer:
                return f"{answer.status} {await answer.text()}"

    return asyncio.run(ask())


def tls_raw():
    context = ssl.create_default_context(cafile=CA)
    with socket.create_connection(("echo-server", 443), PATIENCE) as plain:
        with context.wrap_socket(plain, server_hostname="echo-server") as connection:
            connection.sendall(b"GET /status/204 HTTP/1.1\r\nHost: echo-server\r\nConnection: close\r\n\r\n")
            return f"{connection.version()} {connection.recv(12).decode()}"


def udp(host, port, size, connected):
    asked = (socket.gethostbyname(host), port)
    sent = b"x" * size
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(PATIENCE)
        try:
            if connected:
                sender.connect(asked)
                sender.send(sent)
            else:
                sender.sendto(sent, asked)
            got, peer = sender.recvfrom(65535)
        except ConnectionRefusedError as error:
            return errno.errorcode[error.errno]
    return f"{len(got)} {'same' if got == sent else 'different'} {'asked' if peer == asked else 'other'}"


def udp_asyncio():
    async def ask():
        got = asyncio.get_running_loop().create_future()

        class Echo(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                transport.sendto(b"hello")

            def datagram_received(self, data, address):
                got.set_result((data, address))

        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Echo, remote_addr=("echo-server", 7001))
        data, address = await asyncio.wait_for(got, PATIENCE)
        same = "asked" if address == transport.get_extra_info("peername") else "other"
        transport.close()
        return f"{len(data)} {'same' if data == b'hello' else 'different'} {same}"

    return asyncio.run(ask())


def some(values):
    return ",".join(sorted(values)) if len(values) <= 5 else len(values)


def lookup(name):
    try:
        return some({found[4][0] for found in socket.getaddrinfo(name, None)})
    except socket.gaierror as error:
        return EAI[error.errno]


def query(name, kind, **limits):
    resolver = dns.resolver.Resolver()
    resolver.lifetime = PATIENCE
    for key, value in limits.items():
        setattr(resolver, key, value)
    try:
        return some([record.to_text().rstrip(".") for record in resolver.resolve(name, kind)])
    except dns.resolver.NXDOMAIN:
        return "NXDOMAIN"
    except dns.resolver.NoAnswer:
        return "NODATA"
    except dns.resolver.NoNameservers as error:
        return "SERVFAIL" if "SERVFAIL" in str(error) else "REFUSED" if "REFUSED" in str(error) else error
    except dns.exception.Timeout:
        return "TIMEOUT"


def cares(name, kind):
    async def ask():
        async with aiodns.DNSResolver(timeout=PATIENCE) as resolver:
            try:
                answer = await resolver.query_dns(name, kind)
            except aiodns.error.DNSError as error:
                return error.args[1]
            return some([str(getattr(record.data, "addr", record.data)) for record in answer.answer])

    return asyncio.run(ask())


check("http-raw", http_raw)
check("http-library", http_urllib, "http://echo-server/bytes/5")
check("http-requests", http_requests, "http://echo-server/bytes/5")
check("http-aiohttp", http_aiohttp, "http://echo-server/bytes/5", aiohttp.ThreadedResolver)
check("http-cares", http_aiohttp, "http://echo-server/bytes/5", aiohttp.AsyncResolver)
check("tls-raw", tls_raw)
check("https-library", http_urllib, "https://echo-server/bytes/5", ssl.create_default_context(cafile=CA))
check("https-untrusted", http_urllib, "https://echo-server/bytes/5", ssl.create_default_context())
check("https-requests", http_requests, "https://echo-server/bytes/5")
check("https-cares", http_aiohttp, "https://echo-server/bytes/5", aiohttp.AsyncResolver)
check("udp-connected", udp, "echo-server", 7001, 5, True)
check("udp-unconnected", udp, "echo-server", 7001, 5, False)
check("udp-elsewhere", udp, "echo-headless", 7008, 5, False)
check("udp-large", udp, "echo-headless", 7001, 60000, False)
check("udp-refused", udp, "echo-headless", 7099, 5, True)
check("udp-asyncio", udp_asyncio)
for name in ["a", "both", "alias", "several", "large", "absent", "txt", "servfail", "refused"]:
    check(f"lookup-{name}", lookup, f"{name}.dns.test")
# Without the aliases, of which one is told (docs/limits.md).
check("gethostbyname_ex", lambda: socket.gethostbyname_ex("alias.dns.test")[::2])
check("gethostbyaddr", lambda: socket.gethostbyaddr("10.99.0.31"))
check("query-txt", query, "txt.dns.test", "TXT")
check("query-mx", query, "mx.dns.test", "MX")
check("query-srv", query, "_grpc._tcp.dns.test", "SRV")
check("query-cname", query, "alias.dns.test", "CNAME")
check("query-ptr", query, "31.0.99.10.in-addr.arpa", "PTR")
check("query-huge", query, "huge.dns.test", "TXT")
check("query-absent", query, "absent.dns.test", "A")
check("query-nodata", query, "txt.dns.test", "A")
check("query-servfail", query, "servfail.dns.test", "A")
check("query-refused", query, "refused.dns.test", "A")
check("query-never", lambda: query("never.dns.test", "A", lifetime=1))
check("cares-several", cares, "several.dns.test", "A")
check("cares-huge", cares, "huge.dns.test", "TXT")
check("cares-absent", cares, "absent.dns.test", "A")
