// Says the same HTTP/2 messages to two ports and tells which is answered differently first:
// `node -e messages_ask.js ADDRESS PORT OTHER COUNT SEED`. Resets are left out: Node tells of them now and then only,
// whoever makes them. Also tells how many had the header `user: me`.
const crypto = require("crypto");
const http2 = require("http2");
const [address, port, other, count, seed] = process.argv.slice(1);
const AT_ONCE = 12, SESSION = 60;

let state = Number(BigInt(seed) & 0xffffffffn);
function below(limit) {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
}
const choose = (from) => from[below(from.length)];

function message() {
    const paths = ["/fixed", "/large", "/none", "/trailers", "/early", "/hints", "/a?b=c"];
    const method = choose(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "X-OTHER"]);
    const headers = { ":method": method, ":path": choose(paths), ":authority": "shop" };
    if (below(2)) headers["user"] = "me";
    for (let n = below(5); n > 0; n--) {
        const value = choose(["", "a", "a, b;c=\"d e\"", "x".repeat(1000), "User: me"]);
        headers[choose(["accept", "x-long", "x-other", "x-third", "x-user"])] = below(4) ? value : [value, "again"];
    }
    if (below(6) === 0) headers.cookie = ["a=b", "c=d"];
    const bodied = !["GET", "HEAD"].includes(method) && below(3) > 0;
    const body = bodied ? crypto.createHash("sha512").update(String(below(1 << 30))).digest() : null;
    const size = choose([0, 1, 64, 5000, 100000]);
    if (bodied && below(2)) headers["content-length"] = size;
    const trailers = bodied && below(4) === 0 ? { "x-sum": "1", "x-last": choose(["", "b"]) } : null;
    return { headers, body: bodied ? Buffer.alloc(size, body) : null, trailers };
}

// All that is heard in answer.
function ask(session, { headers, body, trailers }) {
    return new Promise((resolve) => {
        const heard = { early: [], body: crypto.createHash("sha1"), length: 0 };
        const stream = session.request(headers, { endStream: body === null, waitForTrailers: trailers !== null });
        const plain = (fields) => Object.entries(fields).filter(([name]) => name !== "date").sort();
        stream.setTimeout(20000, () => ((heard.late = true), stream.close()));
        stream.on("headers", (fields) => heard.early.push(plain(fields)));
        stream.on("response", (fields) => (heard.fields = plain(fields)));
        stream.on("trailers", (fields) => (heard.trailers = plain(fields)));
        stream.on("data", (chunk) => (heard.body.update(chunk), (heard.length += chunk.length)));
        stream.on("wantTrailers", () => stream.sendTrailers(trailers));
        stream.on("error", () => {});
        stream.on("close", () => {
            heard.body = heard.body.digest("hex");
            resolve(JSON.stringify({ ...heard, code: stream.rstCode }));
        });
        if (body !== null) stream.end(body);
    });
}

function connect(port) {
    const session = http2.connect(`http://${address}:${port}`);
    session.on("error", () => {});
    return session;
}

async function main() {
    let tagged = 0, number = 0, difference = null;
    while (number < count && !difference) {
        const sessions = [port, other].map(connect);
        const last = Math.min(number + SESSION, count);
        const work = async () => {
            while (number < last && !difference) {
                const asked = message();
                const own = number++;
                tagged += asked.headers.user === "me";
                const [one, two] = await Promise.all(sessions.map((session) => ask(session, asked)));
                if (one !== two) difference ??= [own, asked.headers, asked.body?.length, asked.trailers, one, two];
            }
        };
        await Promise.all(Array.from({ length: AT_ONCE }, work));
        sessions.forEach((session) => session.close());
    }
    if (difference) difference.forEach((part) => console.log("  ", typeof part === "string" ? part : JSON.stringify(part)));
    console.log("tagged", tagged, "differences", difference ? 1 : 0);
}

main();
