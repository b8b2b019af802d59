// Asks the service of echo.proto as two users on one connection. Arguments: address with port, file of the service.
'use strict';
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const { once } = require('events');

const [address, proto] = process.argv.slice(2);
const { Echo } = grpc.loadPackageDefinition(loader.loadSync(proto)).mirror.test;
const client = new Echo(address, grpc.credentials.createInsecure());
const deadline = () => ({ deadline: Date.now() + 20_000 });

async function collect(call) {
  const status = once(call, 'status');
  const values = [];
  for await (const message of call) values.push(message.value);
  return [values, (await status)[0].metadata.get('x-mirror-trailer')[0]];
}

async function main() {
  for (const user of ['me', 'you']) {
    const metadata = new grpc.Metadata();
    metadata.set('x-user', user);
    const answer = await new Promise((done, fail) =>
      client.Say({ value: 'hello' }, metadata, deadline(), (error, answer) => (error ? fail(error) : done(answer))));
    console.log(user, 'unary', answer.value);
    const [numbers, counted] = await collect(client.Count({ value: 1000 }, metadata, deadline()));
    console.log(user, 'stream', numbers.reduce((sum, number) => sum + number), counted);
    const chat = client.Chat(metadata, deadline());
    for (const value of ['one', 'two', 'three']) chat.write({ value });
    chat.end();
    const [heard, chatted] = await collect(chat);
    console.log(user, 'both', heard.join(','), chatted);
    const error = await new Promise(done => client.Fail({ value: 7 }, metadata, deadline(), done));
    console.log(user, 'error', grpc.status[error.code], error.details);
  }
  client.close();
}

main();
