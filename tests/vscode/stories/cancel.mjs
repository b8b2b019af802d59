// A start over a slow line is cancelled: nothing is launched, and nothing is left.

import { CLUSTER, STATUS, facts, note, tell } from "../story.mjs";

await tell(async (editor) => {
  await editor.statusSays(STATUS, facts.target);
  await editor.file("server.js");
  await editor.command("Debug with mirror");
  await editor.statusSays(STATUS, "starting");
  const progress = editor.page.locator(".notification-list-item").filter({ hasText: `mirror: ${facts.target}` });
  let starts = "";
  await editor.poll("the agent is made", async () => /agent/.test((starts = await progress.innerText())), CLUSTER);
  // A picture takes its time: the start may be over by then.
  await progress.locator(".monaco-button, a[role=button]").filter({ hasText: "Cancel" }).first().click();
  note(`it starts: ${starts.replaceAll("\n", " ")}`);
  await editor.picture("cancelling");
  await editor.statusSays(STATUS, "(off)");
  note("it is cancelled");
  await editor.poll("nothing is left of it here", async () => (await editor.sessionHosts()).length === 0, CLUSTER);
  if (await editor.page.locator(".debug-toolbar").isVisible()) throw new Error("the program was launched");
  const said = await editor.notifications();
  if (said.length > 0) throw new Error(`the user is told what they know: ${said}`);
  await editor.picture("cancelled");
});
