// A server of HTTP/2 without TLS, which says whose it is. Arguments: name, port.
'use strict';
const http2 = require('http2');

const [name, port] = process.argv.slice(-2);
let answered = 0;
const server = http2.createServer();
server.on('stream', (stream, headers) => {
  const path = headers[':path'];
  const [, kind, argument] = path.split('/');
  stream.on('aborted', () => console.log(name, 'aborted', path, stream.rstCode));
  stream.on('error', () => {});
  if (kind === 'reset') return stream.close(Number(argument));
  if (kind === 'early') stream.additionalHeaders({ ':status': 103, link: '</style>' });
  if (kind === 'goaway') stream.session.goaway();
  if (kind === 'silent') return stream.resume();
  let length = 0;
  stream.on('data', part => (length += part.length));
  stream.on('end', () => {
    answered += 1;
    if (answered < 10) console.log(name, 'got', path, length);
    if (kind === 'bytes') {
      stream.respond({ ':status': 200 });
      return stream.end(Buffer.alloc(Number(argument)));
    }
    const text = kind === 'answered' ? `${name} ${answered}` : `${name} ${headers[':method']} ${path} ${length}`;
    stream.respond({ ':status': 200, 'x-name': name }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-trailer': name }));
    stream.end(text);
  });
});
server.on('sessionError', () => {});
server.listen(Number(port), () => console.log('serves'));
