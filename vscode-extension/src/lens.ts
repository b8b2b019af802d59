// "Run with mirror | Debug with mirror" above each configuration of launch.json.

import * as vscode from "vscode";

import { configurationNames } from "./names";

/** Where the lenses stand. */
export const LENS_DOCUMENTS: vscode.DocumentSelector = [{ scheme: "file", pattern: "**/.vscode/launch.json" }];

/** Provides them. */
export class Lenses implements vscode.CodeLensProvider {
  provideCodeLenses(document: vscode.TextDocument): vscode.CodeLens[] {
    if (!vscode.workspace.getConfiguration("mirror").get<boolean>("codeLens", true)) {
      return [];
    }
    const folder = vscode.workspace.getWorkspaceFolder(document.uri);
    return configurationNames(document.getText()).flatMap(({ name, offset }) => {
      const at = document.positionAt(offset);
      const range = new vscode.Range(at, at);
      const lens = (title: string, noDebug: boolean): vscode.CodeLens =>
        new vscode.CodeLens(range, { title, command: "mirror.byName", arguments: [folder, name, noDebug] });
      return [lens("$(play) Run with mirror", true), lens("$(debug-alt) Debug with mirror", false)];
    });
  }
}
