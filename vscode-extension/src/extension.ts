// Activation: makes the parts and ties them together. What each does stands in its own file.

import * as vscode from "vscode";

import { refresh, registerCommands } from "./commands";
import { currentFolder } from "./folder";
import { Launches } from "./launch";
import { LENS_DOCUMENTS, Lenses } from "./lens";
import { Memory } from "./memory";
import { sentence } from "./problem";
import type { SessionInfo, SessionStateChanged } from "./rpc";
import { Server } from "./server";
import { Sessions } from "./sessions";
import { Starter } from "./start";
import { StatusItem } from "./status";
import { Tasks, TerminalProfiles } from "./terminal";
import { showProblem } from "./trouble";
import { showUpdated } from "./updated";
import { RequestsView, SessionsView, sessionNode } from "./views";

/** Languages for which the run button of the editor offers mirror. */
const RUNNABLE = ["javascript", "typescript", "python", "go", "java", "kotlin", "c", "cpp", "rust", "csharp", "php", "ruby"];

/** How long news of sessions that were begun elsewhere are collected before all are listed, in milliseconds. */
const SETTLED = 300;

/** Called by VS Code when a window has opened, or something is about to be debugged. */
export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel("mirror", { log: true });
  const server = new Server(context, log);
  const sessions = new Sessions(
    () => vscode.workspace.getConfiguration("mirror").get("maxRequests", 500),
    () => vscode.workspace.workspaceFolders?.map(({ uri }) => uri.fsPath) ?? [currentFolder()],
  );
  const starter = new Starter(server, new Memory(context), sessions);
  const launches = new Launches(starter);
  const status = new StatusItem(starter);
  const terminals = new TerminalProfiles(starter, vscode.Uri.joinPath(context.extensionUri, "images", "mirror.svg"));
  const views = { sessions: new SessionsView("mirror.sessions", sessions), requests: new RequestsView("mirror.requests", sessions) };

  const again = (): void => void refresh(starter, status).catch((error: unknown) => { log.warn(String(error)); });
  const redraw = (): void => { status.show(); };
  listen(starter, launches, again);
  context.subscriptions.push(
    log,
    server,
    starter,
    launches,
    status,
    ...Object.values(views),
    ...registerCommands({ extension: context, starter, launches, status, terminals }),
    vscode.window.registerTerminalProfileProvider("mirror.terminal", terminals),
    vscode.tasks.registerTaskProvider("mirror", new Tasks(starter)),
    vscode.languages.registerCodeLensProvider(LENS_DOCUMENTS, new Lenses()),
    sessions.onDidChange(redraw),
    starter.onDidChange(() => { void status.refresh(); }),
    server.onDidChange((health) => {
      redraw();
      if (health === "running") {
        again();
      }
    }),
    vscode.window.onDidChangeActiveTextEditor((editor) => { look(editor); void status.refresh(); }),
    vscode.workspace.onDidSaveTextDocument(() => { void status.refresh(); }),
    vscode.workspace.onDidChangeConfiguration((change) => {
      if (change.affectsConfiguration("mirror.path") || change.affectsConfiguration("mirror.logLevel")) {
        void vscode.commands.executeCommand("mirror.restartServer");
      }
    }),
  );
  server.on("mirror/contexts/changed", again);
  look(vscode.window.activeTextEditor);
  // Nothing is shown at the start: who needs the helper is told when it is asked.
  server.start().catch((error: unknown) => { log.error(String(error)); });
}

/** Keeps what is known of the sessions, and tells the user what matters of this window's: each thing once. */
function listen(starter: Starter, launches: Launches, refreshed: () => void): void {
  const { server, sessions } = starter;
  const heard = newcomers(sessions, refreshed);
  server.on("mirror/session/state", (change) => { heard(change); stateChanged(starter, launches, change); });
  server.on("mirror/session/processes", (change) => { heard(change); sessions.processes(change); });
  server.on("mirror/session/ports", (change) => { heard(change); sessions.ports(change); });
  server.on("mirror/session/requests", (change) => { heard(change); sessions.requests(change); });
  server.on("mirror/session/updated", (change) => {
    heard(change);
    const known = sessions.updated(change);
    if (known && sessions.isOwn(known.info)) {
      void showUpdated(known, change.updated);
    }
  });
  const shown = new Set<string>();
  server.on("mirror/session/warning", ({ session, problem }) => {
    const info = session === undefined ? undefined : sessions.get(session)?.info;
    // What is not known yet is this window's while it starts something.
    const isOwn = session === undefined || (info ? sessions.isOwn(info) : starter.now !== undefined);
    // What is still to be read is not said again.
    if (isOwn && !shown.has(problem.message)) {
      shown.add(problem.message);
      void showProblem(problem, "warning").finally(() => shown.delete(problem.message));
    }
  });
}

/** Has the sessions listed, soon, when something is heard of one that was begun elsewhere. */
function newcomers(sessions: Sessions, refreshed: () => void): (about: { session: string }) => void {
  let timer: NodeJS.Timeout | undefined;
  return ({ session }) => {
    if (sessions.isNew(session)) {
      clearTimeout(timer);
      timer = setTimeout(refreshed, SETTLED);
    }
  };
}

function stateChanged({ sessions }: Starter, launches: Launches, change: SessionStateChanged): void {
  const before = sessions.state(change);
  const isLost = change.state === "lost";
  const isNews = isLost ? before?.info.state !== "lost" : change.state === "ended" && before?.info.processes.length !== 0;
  if (!before || !isNews || !sessions.isOwn(before.info)) {
    return;
  }
  const text = sentence(`the session on ${before.info.target} ${isLost ? "is lost" : "has ended"}: ${change.cause}`);
  const buttons = [...(canRestart(before.info, isLost, launches) ? ["Restart Session"] : []), "Show Log"];
  void vscode.window.showErrorMessage(text, ...buttons).then((chosen) => {
    if (chosen !== undefined) {
      void vscode.commands.executeCommand(chosen === "Show Log" ? "mirror.showLog" : "mirror.restart", sessionNode(before));
    }
  });
}

/** What is over can only be launched again; what is not can be asked for as it was, except that of `mirror exec`. */
function canRestart({ session, origin }: SessionInfo, lives: boolean, launches: Launches): boolean {
  return launches.knows(session) || (lives && origin === "editor");
}

function look(editor: vscode.TextEditor | undefined): void {
  const runnable = editor !== undefined && RUNNABLE.includes(editor.document.languageId);
  void vscode.commands.executeCommand("setContext", "mirror.runnable", runnable);
}
