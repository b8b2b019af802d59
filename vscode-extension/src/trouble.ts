// Shows what cannot be done: one notification with the server's next steps as buttons.

import * as vscode from "vscode";

import { problemOf, problemText } from "./problem";
import type { Action, Problem } from "./rpc";
import { Cancelled, Failure } from "./server";

/** Most tries of one thing: each further one was asked for by the user. */
export const TRIES = 10;

/** What the user chose to do about a problem. */
export type Remedy = "retry" | "pick-target" | undefined;

/** Shows any error, unless the user has cancelled. */
export async function showError(error: unknown): Promise<Remedy> {
  if (error instanceof Cancelled) {
    return undefined;
  }
  return showProblem(error instanceof Failure ? error.problem : problemOf(error instanceof Error ? error.message : String(error)), "error");
}

/** Shows a problem, does what is chosen, and says what is left for the caller to do. */
export async function showProblem(problem: Problem, severity: "error" | "warning"): Promise<Remedy> {
  const show = severity === "error" ? vscode.window.showErrorMessage : vscode.window.showWarningMessage;
  const items = problem.actions.map((action) => ({ title: action.title, action }));
  const chosen = await show(problemText(problem), ...items);
  return chosen && act(chosen.action);
}

async function act({ kind, argument = "" }: Action): Promise<Remedy> {
  switch (kind) {
    case "retry":
    case "pick-target":
      return kind;
    case "open-file":
    case "show-log":
      await vscode.window.showTextDocument(vscode.Uri.file(argument));
      return undefined;
    case "copy":
      await vscode.env.clipboard.writeText(argument);
      vscode.window.setStatusBarMessage("$(check) Copied", 3_000);
      return undefined;
    case "run-in-terminal": {
      const terminal = vscode.window.createTerminal({ name: "mirror: log in" });
      terminal.show();
      terminal.sendText(argument);
      const again = "Try Again";
      return (await vscode.window.showInformationMessage("When the terminal is done:", again)) === again ? "retry" : undefined;
    }
  }
}
