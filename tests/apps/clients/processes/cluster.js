// Workers of Node's cluster module, which share a listener; each answers what it asked of the cluster.
const cluster = require('cluster');
const http = require('http');

if (cluster.isPrimary) {
  for (let i = 0; i < 2; i++) cluster.fork();
  let listening = 0;
  cluster.on('listening', (worker, address) => {
    if (++listening === 2) console.log(`listening on http://127.0.0.1:${address.port}`);
  });
} else {
  http
    .createServer((request, response) => {
      http.get('http://echo-server/bytes/5', answer => {
        answer.setEncoding('utf8').on('data', body => response.end(`${body} from ${process.pid}`));
      });
      response.setHeader('Connection', 'close');
    })
    .listen(0, '127.0.0.1');
}
