// Terminals and tasks whose programs take part in a session.

import { basename } from "node:path";

import * as vscode from "vscode";

import { commandLine } from "./commandline";
import type { Definition } from "./commandline";
import { currentFolder, folderOf } from "./folder";
import type { SessionStarted } from "./rpc";
import type { Starter } from "./start";

const NAME = "mirror terminal";

/** How long a terminal without a session stands, in milliseconds. */
const FAREWELL = 2_000;

/** The terminal profile "mirror terminal". */
export class TerminalProfiles implements vscode.TerminalProfileProvider {
  constructor(
    private readonly starter: Starter,
    private readonly icon: vscode.Uri,
  ) {}

  async provideTerminalProfile(token?: vscode.CancellationToken): Promise<vscode.TerminalProfile> {
    return new vscode.TerminalProfile((await this.start(token)) ?? { name: NAME, pty: noTerminal(), iconPath: this.icon });
  }

  /** Opens such a terminal. */
  async open(): Promise<void> {
    const options = await this.start();
    if (options) {
      vscode.window.createTerminal(options).show();
    }
  }

  private async start(token?: vscode.CancellationToken): Promise<vscode.TerminalOptions | undefined> {
    const program = vscode.env.shell;
    const folder = currentFolder();
    const started = await this.starter.start(folder, {}, { type: "terminal", name: NAME, program, cwd: folder }, token);
    return started && this.options(started, program, folder);
  }

  private options({ session, plan }: SessionStarted, shellPath: string, cwd: string): vscode.TerminalOptions {
    const env: Record<string, string | null> = { ...Object.fromEntries(plan.unset.map((name) => [name, null])), ...plan.set };
    return { name: `mirror ${session.target} (${basename(shellPath)})`, shellPath, cwd, env, iconPath: this.icon };
  }
}

/** Says that there is no session, and closes: VS Code takes a profile that is not given for an error. */
function noTerminal(): vscode.Pseudoterminal {
  const said = new vscode.EventEmitter<string>();
  const closed = new vscode.EventEmitter<undefined>();
  let timer: NodeJS.Timeout | undefined;
  return {
    onDidWrite: said.event,
    onDidClose: closed.event,
    open: () => {
      said.fire("No session was started.\r\n");
      timer = setTimeout(() => { closed.fire(undefined); }, FAREWELL);
    },
    close: () => { clearTimeout(timer); },
  };
}

/** Tasks of type `mirror`: `mirror exec` in the task's terminal. */
export class Tasks implements vscode.TaskProvider {
  constructor(private readonly starter: Starter) {}

  /** Nothing is guessed: tasks are written by the user. */
  provideTasks(): vscode.Task[] {
    return [];
  }

  async resolveTask(task: vscode.Task): Promise<vscode.Task> {
    const definition = task.definition as unknown as Definition;
    const scope = task.scope ?? vscode.TaskScope.Workspace;
    const folder = typeof scope === "object" ? folderOf(scope) : currentFolder();
    const { words, env } = commandLine(definition, await this.starter.picked(folder, definition.config));
    const execution = new vscode.ProcessExecution(this.starter.server.executable(), words, { cwd: folder, env });
    return new vscode.Task(task.definition, scope, task.name, "mirror", execution, task.problemMatchers);
  }
}
