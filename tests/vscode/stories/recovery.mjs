// A session outlives its helper, which is killed, and its window, which is reloaded.

import { CLUSTER, STATUS, ask, facts, helpers, note, tell } from "../story.mjs";

const local = async () => (await ask("/who", [], 10)) === "from this machine to nobody";
const pod = async () => (await ask("/who", [], 10)) === "from pod";

await tell(async (editor) => {
  await editor.statusSays(STATUS, facts.target);
  await editor.file("server.js");

  await editor.command("mirror: New Terminal with mirror");
  await editor.page.waitForSelector(".terminal-wrapper.active .xterm-rows");
  await editor.statusSays(STATUS, "waiting");
  await editor.page.locator(".terminal-wrapper.active .xterm-helper-textarea").focus();
  await editor.page.keyboard.type(`node server.js ${facts.port}\n`);
  await editor.poll("the program answers", local, CLUSTER);
  note("the program runs");

  const before = await helpers();
  before.forEach((pid) => process.kill(pid, "SIGKILL"));
  await editor.poll("the helper is started again, and it is said", async () =>
    (await editor.notifications()).some((text) => text.includes("started again")));
  await editor.poll("another helper runs", async () => (await helpers()).some((pid) => !before.includes(pid)));
  await editor.statusSays(STATUS, facts.target);
  if (!(await local())) throw new Error("the session did not outlive the helper");
  note("the helper was killed: the session goes on");
  await editor.picture("helper-killed");

  await editor.reload();
  await editor.statusSays(STATUS, facts.target);
  await editor.page.click('.activitybar .action-label[aria-label^="mirror"]');
  await editor.page.waitForSelector(`.pane-body .monaco-list-row[aria-label^="port ${facts.port} "]`);
  await editor.poll("the program still answers", local);
  note("the window was reloaded: the session is found again");
  await editor.picture("reloaded");

  await editor.command("mirror: Stop Session");
  await editor.poll("the pod answers again", pod, CLUSTER);
  note("the session is stopped");
});
