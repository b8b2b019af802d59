// Says what came of another configuration: what holds, briefly; what needs a restart, with a button for it.

import * as vscode from "vscode";

import { sentence } from "./problem";
import type { SessionUpdated } from "./rpc";
import type { Known } from "./sessions";
import { sessionNode } from "./views";
import { updatedText } from "./words";

/** What is still to be read. */
const shown = new Set<string>();

/** Shows it, once. */
export async function showUpdated(known: Known, updated: SessionUpdated): Promise<void> {
  const text = sentence(updatedText(updated));
  if (updated.needsRestart.length === 0) {
    vscode.window.setStatusBarMessage(`$(check) mirror: ${text}`, 8_000);
    return;
  }
  if (shown.has(text)) {
    return;
  }
  shown.add(text);
  try {
    if ((await vscode.window.showInformationMessage(text, "Restart Session")) !== undefined) {
      await vscode.commands.executeCommand("mirror.restart", sessionNode(known));
    }
  } finally {
    shown.delete(text);
  }
}
