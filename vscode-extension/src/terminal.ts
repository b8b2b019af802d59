// Terminals and tasks whose programs take part in a session.

import { basename } from "node:path";

import * as vscode from "vscode";

import { commandLine } from "./commandline";
import type { Definition } from "./commandline";
import { currentFolder, folderOf } from "./folder";
import type { SessionStarted } from "./rpc";
import type { Starter } from "./start";

/** The terminal profile "mirror terminal". */
export class TerminalProfiles implements vscode.TerminalProfileProvider {
  constructor(
    private readonly starter: Starter,
    private readonly icon: vscode.Uri,
  ) {}

  async provideTerminalProfile(token?: vscode.CancellationToken): Promise<vscode.TerminalProfile | undefined> {
    const program = vscode.env.shell;
    const folder = currentFolder();
    const started = await this.starter.start(folder, {}, { type: "terminal", name: "mirror terminal", program, cwd: folder }, token);
    return started && new vscode.TerminalProfile(this.options(started, program, folder));
  }

  /** Opens such a terminal. */
  async open(): Promise<void> {
    const profile = await this.provideTerminalProfile();
    if (profile) {
      vscode.window.createTerminal(profile.options as vscode.TerminalOptions).show();
    }
  }

  private options({ session, plan }: SessionStarted, shellPath: string, cwd: string): vscode.TerminalOptions {
    const env: Record<string, string | null> = { ...Object.fromEntries(plan.unset.map((name) => [name, null])), ...plan.set };
    return { name: `mirror ${session.target} (${basename(shellPath)})`, shellPath, cwd, env, iconPath: this.icon };
  }
}

/** Tasks of type `mirror`: `mirror exec` in the task's terminal. */
export class Tasks implements vscode.TaskProvider {
  constructor(private readonly starter: Starter) {}

  /** Nothing is guessed: tasks are written by the user. */
  provideTasks(): vscode.Task[] {
    return [];
  }

  resolveTask(task: vscode.Task): vscode.Task {
    const definition = task.definition as unknown as Definition;
    const scope = task.scope ?? vscode.TaskScope.Workspace;
    const folder = typeof scope === "object" ? folderOf(scope) : currentFolder();
    const { words, env } = commandLine(definition, this.starter.memory.picked(folder));
    const execution = new vscode.ProcessExecution(this.starter.server.executable(), words, { cwd: folder, env });
    return new vscode.Task(task.definition, scope, task.name, "mirror", execution, task.problemMatchers);
  }
}
