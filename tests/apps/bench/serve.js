// The HTTP server of `cargo xtask bench incoming`, in the pod and on this machine: `node -e serve.js NUMBER PORT...`
// answers with its number, with `/bytes/COUNT` bytes, and to a POST at its end.
const [number, ...ports] = process.argv.slice(1);
const chunk = Buffer.alloc(65536, "x");

function fill(response, left) {
    while (left > 0) {
        const part = Math.min(left, chunk.length);
        left -= part;
        if (!response.write(chunk.subarray(0, part))) {
            response.once("drain", () => fill(response, left));
            return;
        }
    }
    response.end();
}

const server = (request, response) => {
    const count = Number(request.url.split("/bytes/")[1] || 0);
    request.resume();
    request.on("end", () => {
        response.setHeader("Content-Length", count || number.length);
        if (count) fill(response, count);
        else response.end(number);
    });
};

for (const port of ports) require("http").createServer(server).listen(port, () => console.log("serves " + port));
