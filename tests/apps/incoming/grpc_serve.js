// The service of echo.proto in Node.js, which says whose it is. Arguments: name, port, file of the service.
'use strict';
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [name, port, proto] = process.argv.slice(2);
const { Echo } = grpc.loadPackageDefinition(loader.loadSync(proto)).mirror.test;
const trailers = () => {
  const metadata = new grpc.Metadata();
  metadata.set('x-mirror-trailer', name);
  return metadata;
};

const server = new grpc.Server();
server.addService(Echo.service, {
  Say(call, answer) {
    console.log(name, 'said', call.request.value);
    const text = call.metadata.get('x-mirror-text');
    if (text.length) {
      const headers = new grpc.Metadata();
      headers.set('x-mirror-text', text[0]);
      call.sendMetadata(headers);
    }
    const { value } = call.request;
    answer(null, { value: `${name} ${value.slice(0, 20)} ${value.length}` }, trailers());
  },
  Fail(call, answer) {
    answer({ code: call.request.value, details: `failed with ${call.request.value} as asked` });
  },
  Count(call) {
    for (let number = 1; number <= call.request.value; number++) call.write({ value: number });
    call.end(trailers());
  },
  Chat(call) {
    call.on('cancelled', () => console.log(name, 'chat ends', 'cancelled'));
    call.on('data', text => call.write({ value: `${name} heard ${text.value}` }));
    call.on('end', () => call.end(trailers()));
  },
});
server.bindAsync(`0.0.0.0:${port}`, grpc.ServerCredentials.createInsecure(), () => console.log('serves'));
