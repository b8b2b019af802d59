// Asks `http2.js` as two users on one connection. Arguments: address with port, what to do.
'use strict';
const http2 = require('http2');

const [address, what] = process.argv.slice(2);
const client = http2.connect(`http://${address}`);
client.on('error', error => console.log('connection', error.code));

function ask(path, user, body) {
  return new Promise(done => {
    const stream = client.request({ ':method': body === undefined ? 'GET' : 'PUT', ':path': path, 'x-user': user });
    const seen = [];
    stream.on('headers', headers => seen.push(`early ${headers[':status']}`));
    stream.on('trailers', headers => seen.push(`trailer ${headers['x-trailer']}`));
    let status, text = '', length = 0;
    stream.on('response', headers => (status = headers[':status']));
    stream.on('data', part => { length += part.length; if (text.length < 100) text += part; });
    stream.on('error', () => {});
    stream.on('close', () => {
      const end = stream.rstCode ? [`reset ${stream.rstCode}`] : [status, length > 1000 ? length : text];
      done([...end, ...seen].join(', '));
    });
    stream.end(body);
  });
}

const wanted = {
  async all() {
    for (const user of ['you', 'me']) {
      console.log(await ask('/a?b=c', user));
      console.log(await ask('/up', user, Buffer.alloc(3_000_000)));
      console.log(await ask('/bytes/3000000', user));
      console.log(await ask('/early', user));
      for (const code of [2, 7, 8, 11]) console.log(await ask(`/reset/${code}`, user));
      const stream = client.request({ ':method': 'PUT', ':path': `/silent/${user}`, 'x-user': user });
      stream.on('error', () => {});
      stream.write('begun');
      await new Promise(done => stream.write('more', done));
      await ask('/b', user);
      stream.close(8);
      await new Promise(done => stream.on('close', done));
    }
    const many = Array.from({ length: 500 }, (_, n) => ask(`/${n}`, n % 2 ? 'me' : 'you').then(text => [n, text]));
    const wrong = (await Promise.all(many)).filter(([n, text]) => !text.startsWith(`200, ${n % 2 ? 'laptop' : 'pod'} GET /${n} 0`));
    console.log('many', wrong.length, wrong[0]);
  },
  async goaway() {
    const told = new Promise(done => client.once('goaway', done));
    console.log(await ask('/goaway', 'you'));
    console.log('goaway', await told);
  },
  async own_goaway() {
    console.log(await ask('/goaway', 'me'));
    console.log(await ask('/again', 'me'));
    console.log(await ask('/again', 'you'));
  },
  // A user and a path on each line.
  async lines() {
    for await (const line of require('readline').createInterface({ input: process.stdin })) {
      const [user, path] = line.split(' ');
      console.log(await ask(path, user));
    }
  },
};

wanted[what]().then(() => client.close());
