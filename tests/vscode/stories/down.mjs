// A cluster that does not answer: the picker and the start say so, with a next step, and nothing hangs.

import { STATUS, note, tell } from "../story.mjs";

await tell(async (editor) => {
  await editor.statusSays(STATUS, "mirror");
  await editor.file("server.js");
  await editor.status(STATUS).click();
  await editor.poll("the picker says that the cluster does not answer", async () =>
    (await editor.pickerRows.allInnerTexts()).some((text) => /unreachable|refused|cannot|reach/i.test(text)));
  note("the picker says it");
  await editor.picture("picker");
  await editor.page.keyboard.press("Escape");

  await editor.command("Debug with mirror");
  await editor.poll("the start says that the cluster does not answer", async () =>
    (await editor.notifications()).some((text) => /unreachable|refused|cannot|reach/i.test(text)));
  if (await editor.page.locator(".debug-toolbar").isVisible()) throw new Error("the program was launched all the same");
  note("the start says it, and launches nothing");
  await editor.picture("start");

  // Plain launches go on.
  await editor.debug("plain");
  await editor.running();
  note("a plain launch works");
  await editor.page.keyboard.press("Shift+F5");
  await editor.stopped();
});
