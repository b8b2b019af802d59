// What a debug adapter shows when a request of the cluster hits a breakpoint.

import { ask, note } from "./story.mjs";

/** A request of the cluster stops the program at `line`, and gets its answer when the program goes on. */
export async function breakpointHit(adapter, line) {
  const stopped = adapter.event("stopped");
  const answer = ask("/", ["x-caller: a-pod"]);
  const { body } = await stopped;
  const { stackFrames } = await adapter.ask("stackTrace", { threadId: body.threadId });
  const { scopes } = await adapter.ask("scopes", { frameId: stackFrames[0].id });
  const { variables } = await adapter.ask("variables", { variablesReference: scopes[0].variablesReference });
  const caller = variables.find(({ name }) => name === "caller")?.value;
  if (stackFrames[0].line !== line || caller !== "'a-pod'") throw new Error(`line ${stackFrames[0].line}, caller ${caller}`);
  note("the breakpoint is hit, the variable shows the caller");
  await adapter.ask("continue", { threadId: body.threadId });
  if ((await answer) !== "from this machine to a-pod") throw new Error(await answer);
  note(`the caller got: ${await answer}`);
}
