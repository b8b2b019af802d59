// The commands, one row each.

import * as vscode from "vscode";

import { currentFolder, folderOf } from "./folder";
import type { Launches } from "./launch";
import { Failure } from "./server";
import type { Starter } from "./start";
import type { StatusItem } from "./status";
import type { TerminalProfiles } from "./terminal";
import { TRIES, showError } from "./trouble";
import type { Remedy } from "./trouble";
import { sessionNode } from "./views";
import type { Node } from "./views";
import type { Known } from "./sessions";
import { showUpdated } from "./updated";
import { count, otherPlaceText, stateWord } from "./words";

/** What commands act on. */
export interface Parts {
  extension: vscode.ExtensionContext;
  starter: Starter;
  launches: Launches;
  status: StatusItem;
  terminals: TerminalProfiles;
}

type Command = (parts: Parts, ...words: never[]) => Promise<void>;

const COMMANDS: Record<string, Command> = {
  "mirror.run": ({ launches }) => launches.withMirror(true),
  "mirror.debug": ({ launches }) => launches.withMirror(false),
  "mirror.byName": ({ launches }, folder: vscode.WorkspaceFolder | undefined, name: string, noDebug: boolean) => launches.byName(folder, name, noDebug),
  "mirror.menu": menu,
  "mirror.pickTarget": async ({ starter }) => {
    await starter.pick(currentFolder());
  },
  "mirror.pickTargetInto": pickTargetInto,
  "mirror.showText": showText,
  "mirror.toggle": async ({ starter, status }) => {
    await starter.memory.setEnabled(!starter.memory.enabled);
    status.show();
  },
  "mirror.terminal": ({ terminals }) => terminals.open(),
  "mirror.stop": stop,
  "mirror.restart": restart,
  "mirror.update": update,
  "mirror.showLog": showLog,
  "mirror.openConfig": openConfig,
  "mirror.collectDiagnostics": collectDiagnostics,
  "mirror.restartServer": ({ starter }) => starter.server.restart(),
  "mirror.copy": async (_, node: Node) => vscode.env.clipboard.writeText(node.copy),
  "mirror.refresh": ({ starter, status }) => refresh(starter, status),
  "mirror.clearRequests": async ({ starter }) => {
    starter.sessions.clearRequests();
    return Promise.resolve();
  },
  "mirror.walkthrough": async ({ extension }) => {
    await vscode.commands.executeCommand("workbench.action.openWalkthrough", `${extension.extension.id}#start`, false);
  },
};

/** Registers all of them. */
export function registerCommands(parts: Parts): vscode.Disposable[] {
  return Object.entries(COMMANDS).map(([name, command]) =>
    vscode.commands.registerCommand(name, (...words: never[]) => run(parts, () => command(parts, ...words))),
  );
}

/** Runs a command, and what the user chooses to do about its failure. */
async function run({ starter }: Parts, command: () => Promise<void>): Promise<void> {
  let remedy: Remedy;
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    try {
      if (attempt > 0) {
        await starter.server.ensure();
      }
      if (remedy === "pick-target" && (await starter.pick(currentFolder())) === undefined) {
        return;
      }
      await command();
      return;
    } catch (error) {
      remedy = await showError(error);
      if (remedy === undefined) {
        return;
      }
    }
  }
}

/** A range as the helper says it. */
interface WireRange {
  start: { line: number; character: number };
  end: { line: number; character: number };
}

/** Writes a picked target into a configuration: the helper's code action names the place. */
async function pickTargetInto({ starter }: Parts, file: string, { start, end }: WireRange): Promise<void> {
  const uri = vscode.Uri.parse(file);
  const folder = folderOf(vscode.workspace.getWorkspaceFolder(uri));
  // What was never saved cannot be read there.
  const config = uri.scheme === "file" ? uri.fsPath : undefined;
  const chosen = await starter.choose(folder, { reason: "Pick the target of the configuration", config });
  if (chosen === undefined || chosen === "configured") {
    return;
  }
  const target = chosen.container === undefined ? chosen.target : `${chosen.target}/container/${chosen.container}`;
  const edit = new vscode.WorkspaceEdit();
  // A text of JSON is one of YAML and of TOML, too.
  edit.replace(uri, new vscode.Range(start.line, start.character, end.line, end.character), JSON.stringify(target));
  await vscode.workspace.applyEdit(edit);
  const other = otherPlaceText(chosen, await starter.effective(folder, config));
  if (other !== undefined) {
    void vscode.window.showWarningMessage(other);
  }
}

/** Shows a text that is no file yet, and becomes one if the user wants it. */
async function showText(_: Parts, language: string, content: string): Promise<void> {
  await vscode.window.showTextDocument(await vscode.workspace.openTextDocument({ language, content }));
}

/** Asks the helper for all sessions, and shows the configuration as it is now. */
export async function refresh(starter: Starter, status: StatusItem): Promise<void> {
  const { sessions } = await starter.server.ask("mirror/session/list", {});
  starter.sessions.replace(sessions);
  await status.refresh();
}

/** What a click on the status item does: the picker, or with a session a menu. */
async function menu(parts: Parts): Promise<void> {
  const { starter } = parts;
  const session = starter.sessions.foremost(currentFolder());
  if (!session) {
    await starter.pick(currentFolder());
    return;
  }
  const { enabled } = starter.memory;
  const isOurs = session.info.origin === "editor";
  const row = (icon: string, label: string, command: string, description = ""): vscode.QuickPickItem & { command: string } => ({
    label: `$(${icon}) ${label}`,
    description,
    command,
  });
  const chosen = await vscode.window.showQuickPick(
    [
      row("debug-stop", "Stop session", "mirror.stop", session.info.target),
      ...(isOurs ? [row("debug-restart", "Restart session", "mirror.restart", session.info.target)] : []),
      ...(isOurs ? [row("sync", "Apply the configuration to the session", "mirror.update")] : []),
      row("target", "Pick another target…", "mirror.pickTarget", "for the next launch"),
      row("terminal", "New terminal with mirror", "mirror.terminal"),
      row("output", "Show the session's log", "mirror.showLog"),
      row("power", enabled ? "Only launches that ask for it" : "All launches of this workspace", "mirror.toggle", enabled ? "now: all launches" : "now: only those that ask for it"),
    ],
    { title: `mirror: ${session.info.target}, ${stateWord(session.info.state)}` },
  );
  if (chosen) {
    await vscode.commands.executeCommand(chosen.command, sessionNode(session));
  }
}

/** The session that a command means: of the row it came from, the window's only one, or the one that the user chooses. */
async function meant({ starter }: Parts, node: Node | undefined): Promise<Known | undefined> {
  if (node?.kind === "session") {
    return starter.sessions.get(node.known.info.session) ?? node.known;
  }
  const all = starter.sessions.all();
  if (all.length === 0) {
    void vscode.window.showInformationMessage("No mirror session runs.");
  }
  const own = all.filter(({ info }) => starter.sessions.isOwn(info));
  if (own.length === 1 || all.length === 0) {
    return own[0];
  }
  const rows = (own.length > 0 ? own : all).map((known) => ({ label: known.info.target, description: `${known.info.name} · ${stateWord(known.info.state)}`, known }));
  return (await vscode.window.showQuickPick(rows, { title: "Which session?" }))?.known;
}

async function stop(parts: Parts, node?: Node): Promise<void> {
  const known = await meant(parts, node);
  if (known) {
    const { session } = known.info;
    const debug = parts.launches.debugSession(session);
    const ended = (): Promise<unknown> =>
      Promise.all([debug && vscode.debug.stopDebugging(debug), parts.starter.server.ask("mirror/session/stop", { session })]);
    await ending(parts, session, ended);
  }
}

/** A program gets a session's variables when it starts: so what is debugged is started once more. */
async function restart(parts: Parts, node?: Node): Promise<void> {
  const known = await meant(parts, node);
  if (!known) {
    return;
  }
  const { starter, launches } = parts;
  const { session, target } = known.info;
  const lives = starter.sessions.get(session) !== undefined;
  if (lives && !launches.debugSession(session)) {
    const started = await ending(parts, session, () => starter.server.ask("mirror/session/restart", { session }));
    starter.sessions.begin(started.session);
    return;
  }
  if (!launches.knows(session)) {
    const message = `the session on ${target} is over`;
    throw new Failure({ code: "session-not-found", message, causes: [], next: "start its program again", actions: [] });
  }
  if (lives) {
    // What cannot be started again must not be ended.
    await launches.check(session);
    await ending(parts, session, () => starter.server.ask("mirror/session/stop", { session }));
  }
  await launches.again(session);
}

/** Does what ends a session. The user knows, so that it is no news; if it fails, the helper says what there is. */
async function ending<T>({ starter, status }: Parts, session: string, work: () => Promise<T>): Promise<T> {
  starter.sessions.leave(session);
  try {
    return await work();
  } catch (error) {
    starter.sessions.stay(session);
    await refresh(starter, status).catch(() => undefined);
    throw error;
  }
}

async function update(parts: Parts, node?: Node): Promise<void> {
  const known = await meant(parts, node);
  if (!known) {
    return;
  }
  const updated = await parts.starter.server.ask("mirror/session/update", { session: known.info.session });
  await showUpdated(known, updated);
}

async function showLog(parts: Parts, node?: Node): Promise<void> {
  const known = node ?? parts.starter.sessions.all()[0] ? await meant(parts, node) : undefined;
  if (known?.info.log === undefined) {
    parts.starter.server.log.show();
  } else {
    await vscode.window.showTextDocument(vscode.Uri.file(known.info.log));
  }
}

async function openConfig({ starter }: Parts): Promise<void> {
  const folder = currentFolder();
  const effective = await starter.effective(folder);
  if (effective?.file !== undefined) {
    await vscode.window.showTextDocument(vscode.Uri.file(effective.file));
    return;
  }
  // A new file, which is written only when the user saves it.
  const uri = vscode.Uri.joinPath(vscode.Uri.file(folder), ".mirror.json").with({ scheme: "untitled" });
  const document = await vscode.workspace.openTextDocument(uri);
  const editor = await vscode.window.showTextDocument(document);
  if (document.getText() === "") {
    const target = starter.memory.picked(folder)?.target ?? "deployment/web";
    await editor.insertSnippet(new vscode.SnippetString(`{\n  "target": "\${1:${target}}"$0\n}\n`));
  }
}

async function collectDiagnostics({ starter, extension }: Parts): Promise<void> {
  const { text } = await starter.server.ask("mirror/diagnostics/collect", {});
  const version = String((extension.extension.packageJSON as { version: unknown }).version);
  const editor = [
    "## Editor",
    "",
    `- ${vscode.env.appName} ${vscode.version}, ${vscode.env.remoteName === undefined ? "local" : `remote ${vscode.env.remoteName}`}`,
    `- extension ${version}, helper ${starter.server.version} (${starter.server.health})`,
    `- ${count(vscode.workspace.workspaceFolders?.length ?? 0, "folder", "folders")} open, all launches with mirror: ${starter.memory.enabled ? "yes" : "no"}`,
  ];
  const document = await vscode.workspace.openTextDocument({ language: "markdown", content: `${text.trimEnd()}\n\n${editor.join("\n")}\n` });
  await vscode.window.showTextDocument(document);
}
