// Activation: makes the parts and ties them together. What each does stands in its own file.

import * as vscode from "vscode";

import { refresh, registerCommands } from "./commands";
import { Launches } from "./launch";
import { LENS_DOCUMENTS, Lenses } from "./lens";
import { Memory } from "./memory";
import { sentence } from "./problem";
import type { SessionStateChanged } from "./rpc";
import { Server } from "./server";
import { Sessions } from "./sessions";
import { Starter } from "./start";
import { StatusItem } from "./status";
import { Tasks, TerminalProfiles } from "./terminal";
import { showProblem } from "./trouble";
import { showUpdated } from "./updated";
import { RequestsView, SessionsView } from "./views";

/** Languages for which the run button of the editor offers mirror. */
const RUNNABLE = ["javascript", "typescript", "python", "go", "java", "kotlin", "c", "cpp", "rust", "csharp", "php", "ruby"];

/** Called by VS Code when a window has opened, or something is about to be debugged. */
export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel("mirror", { log: true });
  const server = new Server(context, log);
  const sessions = new Sessions(() => vscode.workspace.getConfiguration("mirror").get("maxRequests", 500));
  const starter = new Starter(server, new Memory(context), sessions);
  const launches = new Launches(starter);
  const status = new StatusItem(starter);
  const terminals = new TerminalProfiles(starter, vscode.Uri.joinPath(context.extensionUri, "images", "mirror.svg"));
  const views = { sessions: new SessionsView(sessions), requests: new RequestsView(sessions) };

  listen(server, sessions);
  const again = (): void => void refresh(starter, status).catch((error: unknown) => { log.warn(String(error)); });
  const redraw = (): void => { status.show(); };
  context.subscriptions.push(
    log,
    server,
    starter,
    launches,
    status,
    ...Object.values(views),
    ...registerCommands({ extension: context, starter, launches, status, terminals }),
    vscode.window.registerTreeDataProvider("mirror.sessions", views.sessions),
    vscode.window.registerTreeDataProvider("mirror.requests", views.requests),
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

/** Keeps what is known of the sessions, and tells the user what matters: each thing once. */
function listen(server: Server, sessions: Sessions): void {
  server.on("mirror/session/state", (change) => { stateChanged(sessions, change); });
  server.on("mirror/session/processes", (change) => { sessions.processes(change); });
  server.on("mirror/session/ports", (change) => { sessions.ports(change); });
  server.on("mirror/session/requests", (change) => { sessions.requests(change); });
  server.on("mirror/session/updated", (change) => {
    const known = sessions.updated(change);
    if (known) {
      void showUpdated(known, change.updated);
    }
  });
  const shown = new Set<string>();
  server.on("mirror/session/warning", ({ problem }) => {
    // What is still to be read is not said again.
    if (!shown.has(problem.message)) {
      shown.add(problem.message);
      void showProblem(problem, "warning").finally(() => shown.delete(problem.message));
    }
  });
}

function stateChanged(sessions: Sessions, change: SessionStateChanged): void {
  const before = sessions.state(change);
  const isNews = change.state === "lost" ? before?.info.state !== "lost" : change.state === "ended" && before?.info.processes.length !== 0;
  if (before && isNews) {
    const text = sentence(`the session on ${before.info.target} ${change.state === "lost" ? "is lost" : "has ended"}: ${change.cause}`);
    void vscode.window.showErrorMessage(text, "Restart Session", "Show Log").then((chosen) => {
      if (chosen !== undefined) {
        const node = { kind: "session", known: before, copy: "" };
        void vscode.commands.executeCommand(chosen === "Show Log" ? "mirror.showLog" : "mirror.restart", node);
      }
    });
  }
}

function look(editor: vscode.TextEditor | undefined): void {
  const runnable = editor !== undefined && RUNNABLE.includes(editor.document.languageId);
  void vscode.commands.executeCommand("setContext", "mirror.runnable", runnable);
}
