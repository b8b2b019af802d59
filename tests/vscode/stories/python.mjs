// debugpy under the launch plan: a DAP client sets a breakpoint, a request of the cluster hits it.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { Adapter, Helper } from "../peers.mjs";
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

const stopped = adapter.event("stopped");
const answer = ask("/", ["x-caller: a-pod"]);
const { body } = await stopped;
const { stackFrames } = await adapter.ask("stackTrace", { threadId: body.threadId });
const { scopes } = await adapter.ask("scopes", { frameId: stackFrames[0].id });
const { variables } = await adapter.ask("variables", { variablesReference: scopes[0].variablesReference });
const caller = variables.find(({ name }) => name === "caller")?.value;
if (stackFrames[0].line !== LINE || caller !== "'a-pod'") throw new Error(`line ${stackFrames[0].line}, caller ${caller}`);
note("the breakpoint is hit, the variable shows the caller");
await adapter.ask("continue", { threadId: body.threadId });
if ((await answer) !== "from this machine to a-pod") throw new Error(await answer);
note(`the caller got: ${await answer}`);

await adapter.ask("disconnect", { terminateDebuggee: true });
await adapter.end();
await helper.ask("mirror/session/stop", { session: started.session.session });
await helper.end();
if ((await ask("/who")) !== "from pod") throw new Error("the pod does not answer again");
note("told");
