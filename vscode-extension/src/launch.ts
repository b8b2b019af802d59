// Launches with mirror: sees every launch, leaves plain ones as they are, and applies the launch plan to the others.

import * as vscode from "vscode";

import { decide } from "./attribute";
import { folderOf } from "./folder";
import type { Starter } from "./start";

/** Stands in a configuration that the plan was applied to, so that its debug session can be found. */
const MARK = "__mirrorSession";

/** What was launched with which session. */
export class Launches implements vscode.DebugConfigurationProvider, vscode.Disposable {
  /** How many commands "with mirror" are going on. */
  private asked = 0;
  private readonly running = new Map<string, vscode.DebugSession>();
  private readonly subscriptions: vscode.Disposable[];

  constructor(private readonly starter: Starter) {
    this.subscriptions = [
      vscode.debug.registerDebugConfigurationProvider("*", this),
      vscode.debug.onDidStartDebugSession((session) => {
        const name: unknown = session.configuration[MARK];
        if (typeof name === "string" && session.parentSession === undefined) {
          this.running.set(name, session);
        }
      }),
      vscode.debug.onDidTerminateDebugSession((session) => {
        for (const [name, one] of this.running) {
          if (one.id === session.id) {
            this.running.delete(name);
          }
        }
      }),
    ];
  }

  dispose(): void {
    this.subscriptions.forEach((one) => { one.dispose(); });
  }

  /** Starts the selected configuration with mirror; a compound's members all. */
  async withMirror(noDebug: boolean): Promise<void> {
    await this.asking(() => vscode.commands.executeCommand(noDebug ? "workbench.action.debug.run" : "workbench.action.debug.start"));
  }

  /** Starts a configuration by its name with mirror. */
  async byName(folder: vscode.WorkspaceFolder | undefined, name: string, noDebug: boolean): Promise<void> {
    await this.asking(() => vscode.debug.startDebugging(folder, name, { noDebug }));
  }

  /** The debug session of a session. */
  debugSession(session: string): vscode.DebugSession | undefined {
    return this.running.get(session);
  }

  /** Starts what was debugged with a session once more. */
  async again(debug: vscode.DebugSession): Promise<void> {
    const noDebug = debug.configuration["noDebug"] === true;
    await vscode.debug.stopDebugging(debug);
    await this.byName(debug.workspaceFolder, debug.configuration.name, noDebug);
  }

  async resolveDebugConfigurationWithSubstitutedVariables(
    folder: vscode.WorkspaceFolder | undefined,
    configuration: vscode.DebugConfiguration,
    token?: vscode.CancellationToken,
  ): Promise<vscode.DebugConfiguration | undefined> {
    const decision = decide(configuration, this.asked > 0, this.starter.memory.enabled);
    if (decision.kind === "plain" || MARK in configuration) {
      return configuration;
    }
    if (decision.kind === "wrong") {
      void vscode.window.showErrorMessage(`${configuration.name}: ${decision.message}.`);
      return undefined;
    }
    const plain = Object.fromEntries(Object.entries(configuration).filter(([key]) => key !== "mirror" && !key.startsWith("__")));
    const facts = { type: configuration.type, name: configuration.name, configuration: plain };
    const started = await this.starter.start(folderOf(folder), { ...decision.wish }, facts, token, (work) => this.aside(work));
    if (!started) {
      return undefined;
    }
    const launched: vscode.DebugConfiguration = { ...configuration, ...started.plan.configuration, [MARK]: started.session.session };
    delete launched["mirror"];
    return launched;
  }

  /** While the user reads a message, other launches are what they are by themselves. */
  private async aside<T>(work: () => Promise<T>): Promise<T> {
    const asked = this.asked;
    this.asked = 0;
    try {
      return await work();
    } finally {
      this.asked += asked;
    }
  }

  private async asking(work: () => Thenable<unknown>): Promise<void> {
    this.asked += 1;
    try {
      await work();
    } finally {
      this.asked -= 1;
    }
  }
}
