// The status item: one look tells whether mirror is on, where it points and how the session is.

import * as vscode from "vscode";

import { currentFolder } from "./folder";
import type { EffectiveConfig } from "./rpc";
import type { Starter } from "./start";
import { statusText } from "./words";

/** The item, and what it has to ask for. */
export class StatusItem implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem("status", vscode.StatusBarAlignment.Left, 100);
  private effective: EffectiveConfig | undefined;
  private asked = 0;

  constructor(private readonly starter: Starter) {
    this.item.name = "mirror";
    this.item.command = "mirror.menu";
    this.show();
    this.item.show();
  }

  dispose(): void {
    this.item.dispose();
  }

  /** Asks for the configuration of the folder that the user looks at, then shows it. */
  async refresh(): Promise<void> {
    this.asked += 1;
    const turn = this.asked;
    this.show();
    if (this.starter.server.health !== "running") {
      return;
    }
    const folder = currentFolder();
    const effective = await this.starter.effective(folder, undefined, this.starter.memory.picked(folder)?.place);
    if (turn === this.asked) {
      this.effective = effective;
      this.show();
    }
  }

  /** Shows what is known. */
  show(): void {
    const { server, memory, sessions, now } = this.starter;
    const folder = currentFolder();
    const session = sessions.foremost(folder)?.info;
    const picked = memory.picked(folder);
    const said = statusText({
      helper: server.health,
      enabled: memory.enabled,
      version: server.version,
      ...(session && { session }),
      ...(now !== undefined && { starting: now }),
      ...(picked && { picked }),
      ...(this.effective && { effective: this.effective }),
    });
    this.item.text = said.text;
    const tooltip = new vscode.MarkdownString(said.tooltip.join("\n\n"), true);
    this.item.tooltip = tooltip;
    this.item.accessibilityInformation = { label: said.text.replace(/\$\([^)]*\)\s*/g, ""), role: "button" };
    this.item.backgroundColor =
      said.colour === "plain" ? undefined : new vscode.ThemeColor(`statusBarItem.${said.colour}Background`);
    void vscode.commands.executeCommand("setContext", "mirror.hasTarget", picked !== undefined || this.effective?.target !== undefined);
  }
}
