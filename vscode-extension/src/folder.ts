// Which folder is meant: of a launch, or of what the user looks at.

import { homedir } from "node:os";
import * as path from "node:path";

import * as vscode from "vscode";

/** The path of a launch's folder; without a workspace that of the file which is open, else home. */
export function folderOf(folder: vscode.WorkspaceFolder | undefined): string {
  return folder ? folder.uri.fsPath : currentFolder();
}

/** The path of the folder that the user looks at. */
export function currentFolder(): string {
  const uri = vscode.window.activeTextEditor?.document.uri;
  const workspace = uri && vscode.workspace.getWorkspaceFolder(uri);
  const first = vscode.workspace.workspaceFolders?.[0];
  if (workspace ?? first) {
    return (workspace ?? first)?.uri.fsPath ?? homedir();
  }
  return uri?.scheme === "file" ? path.dirname(uri.fsPath) : homedir();
}
