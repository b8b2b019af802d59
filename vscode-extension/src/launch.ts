// Launches with mirror: sees every launch, leaves plain ones as they are, and applies the launch plan to the others.

import * as vscode from "vscode";

import { ONLY_LAUNCHES, decide } from "./attribute";
import type { Wish } from "./attribute";
import { folderOf } from "./folder";
import type { Starter } from "./start";

/** Stands in a configuration that the plan was applied to, so that its debug session can be found. */
const MARK = "__mirrorSession";

/** What was launched with a session. */
interface Launched {
  folder: vscode.WorkspaceFolder | undefined;
  /** As it was before the plan was applied, which holds secrets. */
  configuration: vscode.DebugConfiguration;
  wish: Wish;
  /** While it runs. */
  debug?: vscode.DebugSession;
}

/** What was launched with which session. */
export class Launches implements vscode.DebugConfigurationProvider, vscode.Disposable {
  /** How many commands "with mirror" are going on. */
  private asked = 0;
  /** Whether nothing was launched yet since the last of them began: what comes then is no debugger's child. */
  private isFirst = false;
  private readonly launched = new Map<string, Launched>();
  private readonly subscriptions: vscode.Disposable[];

  constructor(private readonly starter: Starter) {
    this.subscriptions = [
      vscode.debug.registerDebugConfigurationProvider("*", this),
      vscode.debug.onDidStartDebugSession((session) => {
        const name: unknown = session.configuration[MARK];
        const one = typeof name === "string" && session.parentSession === undefined ? this.launched.get(name) : undefined;
        if (one) {
          one.debug = session;
        }
      }),
      vscode.debug.onDidTerminateDebugSession((session) => {
        for (const one of this.launched.values()) {
          if (one.debug?.id === session.id) {
            delete one.debug;
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
    return this.launched.get(session)?.debug;
  }

  /** Whether something was launched with a session that can be launched once more. */
  knows(session: string): boolean {
    return this.launched.has(session);
  }

  /** Fails if what was launched with a session cannot be launched as things are. */
  async check(session: string): Promise<void> {
    const one = this.launched.get(session);
    await (one && this.starter.check(folderOf(one.folder), one.wish));
  }

  /** Starts what was launched with a session once more, after its end. */
  async again(session: string): Promise<void> {
    const one = this.launched.get(session);
    if (!one) {
      return;
    }
    const { folder, configuration, debug } = one;
    await (debug && vscode.debug.stopDebugging(debug));
    const noDebug = configuration["noDebug"] === true;
    if (await this.asking(() => vscode.debug.startDebugging(folder, configuration, { noDebug }))) {
      this.launched.delete(session);
    }
  }

  async resolveDebugConfigurationWithSubstitutedVariables(
    folder: vscode.WorkspaceFolder | undefined,
    configuration: vscode.DebugConfiguration,
    token?: vscode.CancellationToken,
  ): Promise<vscode.DebugConfiguration | undefined> {
    if (MARK in configuration) {
      return configuration;
    }
    const isMeant = this.asked > 0 && this.isFirst;
    this.isFirst = false;
    const decision = decide(configuration, this.asked > 0, this.starter.memory.enabled);
    if (decision.kind === "plain") {
      if (isMeant) {
        void vscode.window.showWarningMessage(`${configuration.name} starts without mirror: ${ONLY_LAUNCHES}.`);
      }
      return configuration;
    }
    if (decision.kind === "wrong") {
      void vscode.window.showErrorMessage(`${configuration.name}: ${decision.message}.`);
      return undefined;
    }
    // What debuggers note for themselves holds for one launch.
    const own = Object.fromEntries(Object.entries(configuration).filter(([key]) => !key.startsWith("__"))) as vscode.DebugConfiguration;
    const plain = { ...own };
    delete plain["mirror"];
    const facts = { type: configuration.type, name: configuration.name, configuration: plain };
    const started = await this.starter.start(folderOf(folder), decision.wish, facts, token, (work) => this.aside(work));
    if (!started) {
      return undefined;
    }
    const { session } = started.session;
    this.launched.set(session, { folder, configuration: own, wish: decision.wish });
    const launched: vscode.DebugConfiguration = { ...configuration, ...started.plan.configuration, [MARK]: session };
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

  private async asking<T>(work: () => Thenable<T>): Promise<T> {
    this.asked += 1;
    this.isFirst = true;
    try {
      return await work();
    } finally {
      this.asked -= 1;
    }
  }
}
