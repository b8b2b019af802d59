// A server of HTTP/2 that answers each message with a function of all that it says: `node -e messages.js PORT...`. The
// end of the input has it tell how many requests there were.
const crypto = require("crypto");
const http2 = require("http2");
let served = 0;

// The message as one text: fields in an order of their own, and the body's digest.
function digest(headers, body, trailers) {
    const fields = (all) => Object.keys(all).sort().map((name) => name + ": " + all[name]);
    const text = JSON.stringify([fields(headers), body.digest("hex"), fields(trailers)]);
    return crypto.createHash("sha1").update(text).digest("hex") + "\n";
}

function answer(stream, headers, text) {
    const path = headers[":path"].split("?")[0];
    const end = headers[":method"] === "HEAD";
    if (path === "/hints") stream.additionalHeaders({ ":status": 103, link: "</a>" });
    if (path === "/none") return stream.respond({ ":status": 204, "x-seen": text.trim() }, { endStream: true });
    if (path === "/large") text = text.repeat(3000);
    const trailers = path === "/trailers";
    const fields = { ":status": 200, "set-cookie": ["a=b", "c=d"], "x-empty": "" };
    if (path === "/fixed") fields["content-length"] = text.length;
    stream.respond(fields, { endStream: end, waitForTrailers: trailers && !end });
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-end": text.trim(), "grpc-status": "0" }));
    if (!end) stream.end(text);
}

function serve(stream, headers) {
    served++;
    const [body, trailers] = [crypto.createHash("sha1"), {}];
    const early = headers[":path"] === "/early";
    stream.on("error", () => {});
    stream.on("trailers", (fields) => Object.assign(trailers, fields));
    stream.on("data", (chunk) => body.update(chunk));
    stream.on("end", () => early || answer(stream, headers, digest(headers, body, trailers)));
    if (early) answer(stream, headers, digest(headers, crypto.createHash("sha1"), {}));
}

for (const port of process.argv.slice(1)) {
    const server = http2.createServer();
    server.on("stream", serve);
    server.on("sessionError", () => {});
    server.listen(Number(port), () => console.log("listens " + port));
}
process.stdin.resume();
process.stdin.on("end", () => console.log("served " + served));
