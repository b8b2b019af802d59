// The configuration in the editor: live targets are completed, a wrong name is marked, and its fix works.

import { STATUS, facts, note, tell } from "../story.mjs";

const NAME = facts.target.split("/")[1];

await tell(async (editor) => {
  await editor.statusSays(STATUS, "mirror");
  await editor.file(".mirror.json");
  const text = () => editor.page.locator('.monaco-editor[data-uri$="/.mirror.json"] .view-lines').innerText();

  await editor.page.keyboard.press("Control+a");
  await editor.page.keyboard.press("Delete");
  await editor.page.keyboard.type(`{ "target": "deployment/${NAME.slice(0, 8)}`);
  const row = editor.page.locator(".suggest-widget .monaco-list-row").filter({ hasText: NAME }).first();
  await editor.offered("a target of the cluster is completed", row, "Control+Space");
  note("completion shows the live target");
  await editor.picture("completion");
  await row.click();
  await editor.poll("it is in the file", async () => (await text()).includes(facts.target));

  // The cursor stands behind the quote.
  await editor.page.keyboard.press("ArrowLeft");
  await editor.page.keyboard.type("x");
  await editor.page.keyboard.press("Escape");
  await editor.page.waitForSelector(".squiggly-warning, .squiggly-error");
  note("a wrong name is marked");
  await editor.page.locator(".view-line").filter({ hasText: NAME }).getByText(NAME).first().hover();
  await editor.page.waitForTimeout(1_500);
  await editor.picture("squiggle");
  await editor.page.keyboard.press("Control+g");
  await editor.pickerInput.fill(":1:25");
  await editor.page.keyboard.press("Enter");
  await editor.page.waitForSelector(".quick-input-widget", { state: "hidden" });
  const fix = editor.page.locator(".action-widget .monaco-list-row").filter({ hasText: NAME }).first();
  await editor.offered("the fix is offered", fix, "Control+.");
  await editor.picture("fixes");
  await editor.page.keyboard.press("Enter");
  await editor.poll("the fix is in the file", async () => {
    const now = await text();
    return now.includes(facts.target) && !now.includes(`${facts.target}x`);
  });
  await editor.page.waitForSelector(".squiggly-warning, .squiggly-error", { state: "detached" });
  note("the fix works");
  await editor.picture("fixed");
});
