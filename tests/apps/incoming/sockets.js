// WebSocket echo and short answers: `node -e sockets.js NAME PORT`. Every message comes back behind NAME, if it is text.
const crypto = require("crypto");
const [name, port] = process.argv.slice(1);

function frame(opcode, body) {
    const head = [0x80 | opcode];
    if (body.length < 126) head.push(body.length);
    else if (body.length < 65536) head.push(126, body.length >> 8, body.length & 255);
    else head.push(127, 0, 0, 0, 0, ...[24, 16, 8, 0].map((shift) => (body.length >> shift) & 255));
    return Buffer.concat([Buffer.from(head), body]);
}

// Splits whole frames off and returns what is left (RFC 6455 5.2): every frame of a client's is masked.
function take(bytes, each) {
    while (bytes.length >= 6) {
        let length = bytes[1] & 127, at = 2;
        if (length === 126) (length = bytes.readUInt16BE(2)), (at = 4);
        else if (length === 127) (length = Number(bytes.readBigUInt64BE(2))), (at = 10);
        if (bytes.length < at + 4 + length) break;
        const mask = bytes.subarray(at, at + 4);
        each(bytes[0] & 15, bytes.subarray(at + 4, at + 4 + length).map((byte, index) => byte ^ mask[index % 4]));
        bytes = bytes.subarray(at + 4 + length);
    }
    return bytes;
}

const answer = (request, response) => request.resume().on("end", () => response.end(name + "\n"));
const server = require("http").createServer(answer);
server.on("upgrade", (request, socket, rest) => {
    const key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    const accept = crypto.createHash("sha1").update(key).digest("base64");
    const head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
    socket.write([...head, "Sec-WebSocket-Accept: " + accept, "", ""].join("\r\n"));
    const hear = (bytes) => {
        rest = take(Buffer.concat([rest, bytes]), (opcode, body) => {
            if (opcode === 1) body = Buffer.concat([Buffer.from(name + " "), body]);
            socket.write(frame(opcode === 9 ? 10 : opcode, body));
            if (opcode === 8) socket.end();
        });
    };
    hear(Buffer.alloc(0));
    socket.on("data", hear);
});
server.listen(port, () => console.log("serves " + port));
