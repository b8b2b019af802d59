// What every story has: its facts, which the test wrote, an editor, a client in the cluster, and an orderly end.

import { spawn } from "node:child_process";
import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import { Editor, finished, json } from "./editor.mjs";

/** The status item of the extension. */
export const STATUS = "mirror.mirror.status";

/** Longest wait for what the cluster does. */
export const CLUSTER = 180_000;

/** What the test says: `folder`, `target`, `url`, and where things are. */
export const facts = json(process.argv[2]);

/** Runs a story in an editor. */
export async function tell(story, { settings = {}, environment = {} } = {}) {
  const editor = await Editor.start({ ...facts, settings, environment });
  editor.note = note;
  try {
    await story(editor);
    note("told");
  } catch (error) {
    await editor.picture("failed").catch(() => {});
    console.error(error);
    console.error("notifications:", await editor.notifications().catch(() => []));
    process.exitCode = 1;
  } finally {
    await editor.end();
  }
}

const began = Date.now();

/** One line about how far the story is. */
export function note(text) {
  const line = `${((Date.now() - began) / 1000).toFixed(1).padStart(6)} s  ${text}`;
  console.log(line);
  mkdirSync(facts.pictures, { recursive: true });
  appendFileSync(join(facts.pictures, "story.log"), `${line}\n`);
}

/** A request that a pod of the cluster makes to the target's Service; its answer. */
export function ask(path, headers = [], seconds = 60) {
  const words = headers.flatMap((header) => ["-H", header]);
  const curl = ["curl", "-sS", "-m", String(seconds), ...words, `${facts.url}${path}`];
  const child = spawn(facts.kubectl, ["exec", "deploy/debian", "-c", "nginx", "--", ...curl], { stdio: "pipe" });
  const answer = finished(child, (seconds + 30) * 1_000).then((said) => said.trim());
  // Who does not wait for it at once is told nevertheless.
  answer.catch(() => {});
  return answer;
}

/** The helpers of this story that run: process ids of `mirror serve`. */
export async function helpers() {
  const said = await finished(spawn("pgrep", ["-u", String(process.getuid()), "-f", `${facts.home}/.*bin/mirror serve`], { stdio: "pipe" }), 10_000).catch(() => "");
  return said.split("\n").filter((line) => line !== "").map(Number);
}
