// gRPC in Node.js: unary, streams both ways, metadata, trailers and errors. Usage: grpc.js PROTO-FILE
'use strict';
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const { once } = require('events');

const { Echo } = grpc.loadPackageDefinition(loader.loadSync(process.argv[2])).mirror.test;
const client = new Echo('echo-server:7010', grpc.credentials.createInsecure());
const deadline = () => ({ deadline: Date.now() + 10_000 });

async function collect(call) {
  const status = once(call, 'status');
  const values = [];
  for await (const message of call) values.push(message.value);
  return [values, (await status)[0].metadata.get('x-mirror-trailer')[0]];
}

async function main() {
  const metadata = new grpc.Metadata();
  metadata.set('x-mirror-text', 'asked');
  const answered = new Promise((done, fail) => {
    const call = client.Say({ value: 'hello' }, metadata, deadline(), (error, answer) => (error ? fail(error) : done([answer, call])));
    call.headers = once(call, 'metadata');
    call.trailers = once(call, 'status');
  });
  const [answer, call] = await answered;
  const [header] = (await call.headers)[0].get('x-mirror-text');
  const [trailer] = (await call.trailers)[0].metadata.get('x-mirror-trailer');
  console.log('unary', answer.value, header, trailer);

  const [numbers, counted] = await collect(client.Count({ value: 1000 }, deadline()));
  console.log('server-stream', numbers.reduce((sum, number) => sum + number), counted);

  const chat = client.Chat(deadline());
  for (const value of ['one', 'two', 'three']) chat.write({ value });
  chat.end();
  const [heard, chatted] = await collect(chat);
  console.log('both-streams', heard.join(','), chatted);

  client.Fail({ value: 7 }, deadline(), error => {
    console.log('error', grpc.status[error.code], error.details);
    client.close();
  });
}

main();
