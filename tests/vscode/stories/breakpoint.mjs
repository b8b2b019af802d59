// A breakpoint in local code is hit by a request made in the cluster.

import { CLUSTER, STATUS, ask, facts, note, tell } from "../story.mjs";

const NAME = facts.target.split("/")[1];

await tell(async (editor) => {
  await editor.statusSays(STATUS, "mirror (off)");
  note("the extension is ready");
  await editor.file("server.js");
  await editor.breakpoint(facts.line);
  await editor.picture("project");

  await editor.status(STATUS).click();
  await editor.poll("the picker lists the deployment", async () => (await editor.pickerRows.allInnerTexts()).join().includes("echo-server"));
  note("the picker lists the cluster's targets");
  await editor.picture("picker");
  await editor.pickerInput.fill(NAME);
  const row = editor.pickerRows.filter({ hasText: "deployment" }).filter({ hasText: NAME }).first();
  await row.waitFor();
  await editor.picture("picker-filtered");
  await row.click();
  await editor.statusSays(STATUS, facts.target);

  note(`before: ${await ask("/who")}`);
  await editor.command("Debug with mirror");
  await editor.picture("starting");
  await editor.running();
  await editor.statusSays(STATUS, facts.target);
  note("the program runs");
  await editor.page.click('.activitybar .action-label[aria-label^="mirror"]');
  await editor.page.waitForSelector(`.pane-body .monaco-list-row[aria-label^="port ${facts.port} "]`);
  await editor.picture("session");

  const answer = ask("/orders?from=cluster", ["x-caller: a-pod"]);
  const early = answer.then((said) => Promise.reject(new Error(`answered without a stop: ${said}`)));
  await Promise.race([editor.paused(), early]);
  note("the breakpoint is hit");
  await editor.page.keyboard.press("Control+Shift+D");
  await editor.variable("caller", "a-pod");
  await editor.variable("path", "/orders");
  await editor.picture("paused");
  await editor.page.keyboard.press("F5");
  const said = await answer;
  if (said !== "from this machine to a-pod") throw new Error(`the caller got ${said}`);
  note(`the caller in the cluster got: ${said}`);
  await editor.page.click('.activitybar .action-label[aria-label^="mirror"]');
  await editor.page.waitForSelector('.monaco-list-row[aria-label*="GET /orders"]');
  await editor.picture("requests");

  await editor.page.keyboard.press("Shift+F5");
  await editor.stopped();
  await editor.poll("the pod answers again", async () => (await ask("/who")) === "from pod", CLUSTER);
  note("stopped: the pod answers again");
  await editor.command("mirror: Stop Session");
  await editor.statusSays(STATUS, "(off)");
  await editor.picture("stopped");
});
