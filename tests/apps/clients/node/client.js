// The client in Node.js: http, https, http2, fetch, net, tls, dgram, dns.lookup (getaddrinfo) and dns.resolve* (c-ares).
// One line for each check: its name, what came of it. Usage: client.js CA-FILE
'use strict';
const dgram = require('dgram');
const dns = require('dns');
const fs = require('fs');
const http = require('http');
const http2 = require('http2');
const https = require('https');
const net = require('net');
const tls = require('tls');
const { once } = require('events');
const { buffer } = require('stream/consumers');

const ca = fs.readFileSync(process.argv[2]);
const PATIENCE = 10_000;

async function check(name, ask, ...args) {
  console.log(name, await ask(...args));
}

async function httpRaw() {
  const connection = net.connect({ host: 'echo-server', port: 80 });
  connection.end('GET /bytes/5 HTTP/1.1\r\nHost: echo-server\r\nConnection: close\r\n\r\n');
  const answer = (await buffer(connection)).toString();
  return `${answer.split(' ')[1]} ${answer.slice(-5)}`;
}

async function httpLibrary(library, url, options) {
  try {
    const request = library.get(url, { timeout: PATIENCE, ...options });
    const [answer] = await once(request, 'response');
    return `${answer.statusCode} ${await buffer(answer)}`;
  } catch (error) {
    return error.code === 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' || error.code === 'SELF_SIGNED_CERT_IN_CHAIN' ? 'untrusted' : error;
  }
}

async function httpFetch(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(PATIENCE) });
  return `${answer.status} ${await answer.text()}`;
}

async function httpTwo() {
  const session = http2.connect('https://echo-server', { ca });
  const stream = session.request({ ':path': '/bytes/5' });
  const [headers] = await once(stream, 'response');
  const body = await buffer(stream);
  session.close();
  return `${headers[':status']} ${body} HTTP/2`;
}

async function tlsRaw() {
  const connection = tls.connect({ host: 'echo-server', servername: 'echo-server', port: 443, ca });
  await once(connection, 'secureConnect');
  const protocol = connection.getProtocol();
  connection.end('GET /status/204 HTTP/1.1\r\nHost: echo-server\r\nConnection: close\r\n\r\n');
  return `${protocol} ${(await buffer(connection)).toString().slice(0, 12)}`;
}

async function udp(host, port, size, connected) {
  const { address } = await dns.promises.lookup(host, 4);
  const socket = dgram.createSocket('udp4');
  const sent = Buffer.alloc(size, 'x');
  const timer = setTimeout(() => socket.emit('error', new Error('no answer')), PATIENCE);
  try {
    const message = once(socket, 'message');
    message.catch(() => {});
    if (connected) {
      socket.connect(port, address);
      await once(socket, 'connect');
      socket.send(sent);
    } else {
      socket.send(sent, port, address);
    }
    const [got, peer] = await message;
    const from = peer.port === port && peer.address === address ? 'asked' : 'other';
    return `${got.length} ${got.equals(sent) ? 'same' : 'different'} ${from}`;
  } catch (error) {
    return error.code ?? error;
  } finally {
    clearTimeout(timer);
    socket.close();
  }
}

const some = values => (values.length > 5 ? values.length : values.map(String).sort().join(','));

async function lookup(name) {
  try {
    return some((await dns.promises.lookup(name, { all: true })).map(found => found.address));
  } catch (error) {
    return error.code;
  }
}

async function query(ask, show = String) {
  try {
    return some((await ask()).map(show));
  } catch (error) {
    return error.code;
  }
}

async function main() {
  const { promises } = dns;
  const impatient = new promises.Resolver({ timeout: 500, tries: 1 });
  await check('http-raw', httpRaw);
  await check('http-library', httpLibrary, http, 'http://echo-server/bytes/5');
  await check('http-fetch', httpFetch, 'http://echo-server/bytes/5');
  await check('tls-raw', tlsRaw);
  await check('https-library', httpLibrary, https, 'https://echo-server/bytes/5', { ca });
  await check('https-untrusted', httpLibrary, https, 'https://echo-server/bytes/5');
  await check('https-http2', httpTwo);
  await check('udp-connected', udp, 'echo-server', 7001, 5, true);
  await check('udp-unconnected', udp, 'echo-server', 7001, 5, false);
  await check('udp-elsewhere', udp, 'echo-headless', 7008, 5, false);
  await check('udp-large', udp, 'echo-headless', 7001, 60000, false);
  await check('udp-refused', udp, 'echo-headless', 7099, 5, true);
  for (const name of ['a', 'both', 'alias', 'several', 'large', 'absent', 'txt', 'servfail', 'refused']) {
    await check(`lookup-${name}`, lookup, `${name}.dns.test`);
  }
  await check('query-service', query, () => promises.resolve4('echo-server.default.svc.cluster.local'), () => 'found');
  await check('query-several', query, () => promises.resolve4('several.dns.test'));
  await check('query-six', query, () => promises.resolve6('aaaa.dns.test'));
  await check('query-txt', query, () => promises.resolveTxt('txt.dns.test'), parts => parts.join('|'));
  await check('query-mx', query, () => promises.resolveMx('mx.dns.test'), mx => `${mx.priority} ${mx.exchange}`);
  await check('query-srv', query, () => promises.resolveSrv('_grpc._tcp.dns.test'), srv => `${srv.port} ${srv.name}`);
  await check('query-cname', query, () => promises.resolveCname('alias.dns.test'));
  await check('query-ptr', query, () => promises.reverse('10.99.0.31'));
  await check('query-huge', query, () => promises.resolveTxt('huge.dns.test'));
  await check('query-absent', query, () => promises.resolve4('absent.dns.test'));
  await check('query-nodata', query, () => promises.resolve4('txt.dns.test'));
  await check('query-servfail', query, () => promises.resolve4('servfail.dns.test'));
  await check('query-refused', query, () => promises.resolve4('refused.dns.test'));
  await check('query-never', query, () => impatient.resolve4('never.dns.test'));
}

main();
