// js-debug under the launch plan: a DAP client sets a breakpoint, a request of the cluster hits it.

import { join } from "node:path";

import { JsDebug } from "../jsdebug.mjs";
import { Helper } from "../peers.mjs";
import { breakpointHit } from "../stop.mjs";
import { ask, facts, note } from "../story.mjs";

async function story() {
  const program = join(facts.folder, "server.js");
  const debug = new JsDebug(facts.modules, facts.home);
  const helper = await Helper.start(facts.mirror, { PATH: `${debug.bin}:${process.env.PATH}` });
  const configuration = { type: "pwa-node", request: "launch", name: "shop", program, args: [facts.port], cwd: facts.folder, console: "internalConsole" };
  const started = await helper.ask("mirror/session/start", {
    folder: facts.folder,
    target: facts.target,
    launch: { type: "pwa-node", name: "shop", configuration },
  });
  note("the session stands");

  const parent = await debug.begin(await debug.resolve({ ...configuration, ...started.plan.configuration }));
  await parent.adapter.ask("configurationDone");
  const child = await debug.begin(await debug.child());
  const { adapter } = child;
  await adapter.ask("setBreakpoints", { source: { path: program }, breakpoints: [{ line: facts.line }] });
  await adapter.ask("configurationDone");
  await Promise.all([parent.began, child.began]);
  await helper.notification("mirror/session/processes", ({ processes }) => processes.length > 0);
  const { params } = await helper.notification("mirror/session/ports", ({ ports }) => ports.some(({ port }) => String(port) === facts.port));
  // The debugger listens in the program, too.
  if (params.ports.length !== 1) throw new Error(`ports: ${JSON.stringify(params.ports)}`);
  note("the program runs, its port is open, the debugger's is left alone");

  await breakpointHit(adapter, facts.line);

  const terminated = adapter.event("terminated");
  const disconnected = parent.adapter.ask("disconnect", { terminateDebuggee: true });
  await terminated;
  await adapter.ask("disconnect");
  await disconnected;
  await Promise.all([adapter.end(), parent.adapter.end()]);
  await helper.ask("mirror/session/stop", { session: started.session.session });
  await helper.end();
  if ((await ask("/who")) !== "from pod") throw new Error("the pod does not answer again");
  note("told");
}

// js-debug has no end of its own, and keeps a program alive that fails.
const failed = (error) => (console.error(error), process.exit(1));
await story().then(() => process.exit(), failed);
