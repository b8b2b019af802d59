// A configuration is edited while its session runs: what can, holds at once; for the rest a restart is offered. The
// program runs in a terminal, which shows no values of the pod.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { CLUSTER, STATUS, ask, facts, note, tell } from "../story.mjs";

const OTHER = "deployment/echo-server";
const pod = "from pod";
const local = (caller) => `from this machine to ${caller}`;
const answers = async (caller, expected) => (await ask("/who", [`x-caller: ${caller}`], 10)) === expected;

await tell(async (editor) => {
  await editor.statusSays(STATUS, facts.target);
  await editor.debug("in a terminal");
  await editor.running();
  await editor.poll("the program has the pod's variable", async () => (await editor.terminal()).replaceAll("\n", "").includes("a token of 14 letters"));
  const shown = (await editor.terminal()).replaceAll("\n", "");
  if (shown.includes("not-to-be-seen") || !shown.includes("server.js")) throw new Error(`the terminal shows:\n${shown}`);
  note("the terminal shows the launch, and no value of the pod");
  await editor.picture("terminal");
  await editor.poll("a request of ann stops here", () => answers("ann", local("ann")), CLUSTER);
  if (!(await answers("bob", pod))) throw new Error("the filter takes bob's");
  await editor.page.click('.activitybar .action-label[aria-label^="mirror"]');
  await editor.page.waitForSelector('.monaco-list-row[aria-label*="passed to the target"]');
  note("a request that the filter leaves to the pod is shown as such");
  await editor.picture("passed");

  await editor.file(".mirror.json");
  await editor.page.keyboard.press("Control+f");
  await editor.page.waitForSelector(".find-widget.visible .find-part .input:focus");
  await editor.page.keyboard.type("ann");
  await editor.page.keyboard.press("Enter");
  await editor.page.keyboard.press("Escape");
  await editor.page.keyboard.type("bob");
  await editor.page.keyboard.press("Control+s");
  await editor.page.locator(".statusbar-item").filter({ hasText: "In effect now: feature.network.incoming.http_filter" }).waitFor();
  await editor.picture("saved");
  await editor.poll("the saved filter holds", () => answers("bob", local("bob")));
  if (!(await answers("ann", pod))) throw new Error("the old filter holds, too");
  note("a saved filter holds for the next request");

  writeFileSync(join(facts.folder, ".mirror.json"), JSON.stringify({ target: OTHER }));
  await editor.poll("a restart is offered", async () => (await editor.notifications()).some((text) => text.includes("eeds a restart of the session: target.path")));
  await editor.picture("restart-offered");
  await editor.page.locator(".notification-list-item a.monaco-button, .notification-list-item .monaco-button").filter({ hasText: "Restart Session" }).click();
  await editor.statusSays(STATUS, OTHER, CLUSTER);
  await editor.running();
  note("the restarted session has the other target");
  await editor.picture("restarted");
  await editor.page.keyboard.press("Shift+F5");
  await editor.stopped();
  await editor.command("mirror: Stop Session");
  await editor.statusSays(STATUS, "(off)");
});
