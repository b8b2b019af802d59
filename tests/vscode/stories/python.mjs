// debugpy under the launch plan: a DAP client sets a breakpoint, a request of the cluster hits it.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { Adapter, Helper } from "../peers.mjs";
import { breakpointHit } from "../stop.mjs";
import { ask, facts, note } from "../story.mjs";

const PROGRAM = `import http.server, sys

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        caller = self.headers.get("x-caller", "nobody")
        body = f"from this machine to {caller}\\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Answer)
print("listens", flush=True)
server.serve_forever()
`;
const LINE = 6;

const program = join(facts.folder, "server.py");
writeFileSync(program, PROGRAM);
const helper = await Helper.start(facts.mirror);
// Where debugpy itself is, for the adapter and for what it starts.
const env = { PYTHONPATH: join(facts.libraries, "python") };
const configuration = { type: "debugpy", request: "launch", name: "shop", program, args: [facts.port], console: "internalConsole", cwd: facts.folder, env };
const started = await helper.ask("mirror/session/start", {
  folder: facts.folder,
  target: facts.target,
  launch: { type: "debugpy", name: "shop", configuration },
});
note("the session stands");

const adapter = Adapter.spawn("/usr/bin/python3", ["-m", "debugpy.adapter"], { env: { ...process.env, ...env } });
await adapter.ask("initialize", { adapterID: "debugpy", pathFormat: "path", linesStartAt1: true, columnsStartAt1: true });
const launched = adapter.ask("launch", { ...configuration, ...started.plan.configuration });
await adapter.event("initialized", true);
await adapter.ask("setBreakpoints", { source: { path: program }, breakpoints: [{ line: LINE }] });
await adapter.ask("configurationDone");
await launched;
await helper.notification("mirror/session/processes", ({ processes }) => processes.length > 0);
await helper.notification("mirror/session/ports", ({ ports }) => ports.some(({ port }) => String(port) === facts.port));
note("the program runs, its port is open");

await breakpointHit(adapter, LINE);

await adapter.ask("disconnect", { terminateDebuggee: true });
await adapter.end();
await helper.ask("mirror/session/stop", { session: started.session.session });
await helper.end();
if ((await ask("/who")) !== "from pod") throw new Error("the pod does not answer again");
note("told");
