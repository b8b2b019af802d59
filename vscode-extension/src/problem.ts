// What cannot be done, in the server's words. Knows nothing of VS Code.

import type { Problem } from "./rpc";

/** Whether something that came with an error is the server's account of it. */
export function isProblem(data: unknown): data is Problem {
  return typeof data === "object" && data !== null && "code" in data && "message" in data && "actions" in data;
}

/** A problem of which only a message is known. */
export function problemOf(message: string): Problem {
  return { code: "internal", message, causes: [], actions: [] };
}

/** One text for a notification: sentence, causes, next step. */
export function problemText(problem: Problem): string {
  const causes = problem.causes.length > 0 ? `: ${problem.causes.slice(0, 3).join("; ")}` : "";
  const next = problem.next === undefined ? "" : ` ${sentence(problem.next)}`;
  return `${sentence(problem.message + causes)}${next}`;
}

/** The server speaks in lower case without a period; a notification is a sentence. */
export function sentence(text: string): string {
  const begin = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begin) ? begin : `${begin}.`;
}
