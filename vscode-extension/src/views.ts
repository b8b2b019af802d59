// The views "Sessions" (target → processes → ports) and "Requests".

import { basename } from "node:path";

import * as vscode from "vscode";

import type { Port, Process, RequestSeen, SessionInfo } from "./rpc";
import type { Known, Sessions } from "./sessions";
import { count, portDescription, portLabel, processLabel, requestDescription, requestLabel, stateIcon, stateWord } from "./words";

/** A row of a view. `copy` is what "Copy" copies, `elsewhere` the folder of another window's session. */
export type Node =
  | { kind: "session"; known: Known; copy: string; elsewhere?: string }
  | { kind: "group"; session: SessionInfo; label: string; children: Node[]; copy: string }
  | { kind: "process"; process: Process; children: Node[]; copy: string }
  | { kind: "port"; port: Port; copy: string }
  | { kind: "fact"; label: string; description: string; icon: string; copy: string }
  | { kind: "request"; request: RequestSeen; copy: string };

/** Draws a view anew when the sessions have changed, at most every so many milliseconds. */
const PACE = 150;

/**
 * Draws it once more after these times without changes: VS Code loses rows of a tree that changes while it is drawn, and
 * on a busy machine a drawing takes long.
 */
const SETTLED = [1_000, 5_000];

abstract class View implements vscode.TreeDataProvider<Node>, vscode.Disposable {
  private readonly change = new vscode.EventEmitter<Node | undefined>();
  readonly onDidChangeTreeData = this.change.event;
  private readonly subscriptions: { dispose: () => void }[];
  private timer: NodeJS.Timeout | undefined;
  private settled: NodeJS.Timeout[] = [];

  constructor(id: string, protected readonly sessions: Sessions) {
    const changed = sessions.onDidChange(() => { this.timer ??= setTimeout(() => { this.draw(); }, PACE); });
    const tree = vscode.window.createTreeView(id, { treeDataProvider: this });
    const shown = tree.onDidChangeVisibility(({ visible }) => { if (visible) this.draw(); });
    this.subscriptions = [changed, tree, shown, this.change];
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.settled.forEach(clearTimeout);
    this.subscriptions.forEach((one) => { one.dispose(); });
  }

  private draw(): void {
    this.timer = undefined;
    const fire = (): void => { this.change.fire(undefined); };
    fire();
    this.settled.forEach(clearTimeout);
    this.settled = SETTLED.map((after) => setTimeout(fire, after));
  }

  getTreeItem(node: Node): vscode.TreeItem {
    const item = treeItem(node);
    // Else a tooltip would be read out in place of the row.
    item.accessibilityInformation = { label: [item.label, item.description].filter((part) => typeof part === "string").join(", ") };
    return item;
  }

  abstract getChildren(node?: Node): Node[];
}

/** The view of sessions. */
export class SessionsView extends View {
  getChildren(node?: Node): Node[] {
    if (!node) {
      return this.sessions.all().map((known) => {
        const elsewhere = this.sessions.isOwn(known.info) ? {} : { elsewhere: basename(known.info.folder ?? "another window") };
        return { ...sessionNode(known), ...elsewhere };
      });
    }
    switch (node.kind) {
      case "session":
        return sessionParts(node.known.info);
      case "group":
      case "process":
        return node.children;
      default:
        return [];
    }
  }
}

/** The row of a session. */
export function sessionNode(known: Known): Node {
  return { kind: "session", known, copy: known.info.session };
}

/** The view of requests, the newest first. */
export class RequestsView extends View {
  getChildren(node?: Node): Node[] {
    if (node) {
      return [];
    }
    const all = this.sessions.all();
    const requests = all.flatMap((known) => known.requests).sort((a, b) => b.at - a.at || b.id - a.id);
    const nodes = requests.map((request): Node => ({ kind: "request", request, copy: `${requestLabel(request)} ${requestDescription(request)}` }));
    const omitted = all.reduce((sum, known) => sum + known.omitted, 0);
    const more: Node[] =
      omitted > 0 ? [{ kind: "fact", label: `${count(omitted, "more is", "more are")} not shown`, description: "", icon: "ellipsis", copy: "" }] : [];
    return [...nodes, ...more];
  }
}

function sessionParts(info: SessionInfo): Node[] {
  const group = (label: string, children: Node[]): Node => ({ kind: "group", session: info, label, children, copy: label });
  const fact = (label: string, description: string | undefined, icon: string): Node[] =>
    description === undefined ? [] : [{ kind: "fact", label, description, icon, copy: description }];
  const ports = info.ports.map((port): Node => ({ kind: "port", port, copy: String(port.port) }));
  return [
    group(info.processes.length === 0 ? "No process takes part" : count(info.processes.length, "process", "processes"), processTree(info.processes)),
    group(ports.length === 0 ? "No port is open" : count(ports.length, "port", "ports"), ports),
    ...fact("context", info.context, "server"),
    ...fact("namespace", info.namespace, "symbol-namespace"),
    ...fact("pod", info.pod, "package"),
    ...fact("container", info.container, "symbol-field"),
    ...fact("configuration", info.config, "settings-gear"),
  ];
}

/** Children below their parents. */
function processTree(processes: Process[]): Node[] {
  const below = (parent: Process | undefined): Node[] =>
    processes
      .filter((one) => (parent ? one.parent === parent.pid : !processes.some(({ pid }) => pid === one.parent)))
      .map((process) => ({ kind: "process", process, children: below(process), copy: String(process.pid) }));
  return below(undefined);
}

function treeItem(node: Node): vscode.TreeItem {
  const { None, Collapsed, Expanded } = vscode.TreeItemCollapsibleState;
  switch (node.kind) {
    case "session": {
      const { info } = node.known;
      const item = new vscode.TreeItem(info.target, Expanded);
      item.id = info.session;
      const elsewhere = node.elsewhere === undefined ? [] : [`in ${node.elsewhere}`];
      item.description = [info.name, stateWord(info.state), ...elsewhere].join(" · ");
      item.contextValue = `session-${info.origin}-${info.state}`;
      const colour = info.state === "active" ? "charts.green" : info.state === "lost" ? "charts.red" : info.state === "degraded" ? "charts.yellow" : undefined;
      item.iconPath = new vscode.ThemeIcon(stateIcon(info.state), colour === undefined ? undefined : new vscode.ThemeColor(colour));
      const lines = [`**${info.target}** ${stateWord(info.state)}`, info.cause ?? "", `session \`${info.session}\`, mirror ${info.version}`];
      item.tooltip = new vscode.MarkdownString(lines.filter((line) => line !== "").join("\n\n"));
      return item;
    }
    case "group": {
      const item = new vscode.TreeItem(node.label, node.children.length > 0 ? Expanded : None);
      item.id = `${node.session.session}:${node.label.replace(/^\d+ /, "")}`;
      return item;
    }
    case "process": {
      const item = new vscode.TreeItem(processLabel(node.process), node.children.length > 0 ? Expanded : None);
      item.description = `pid ${node.process.pid}${node.process.skipped ? " · left alone" : ""}`;
      item.iconPath = new vscode.ThemeIcon(node.process.skipped ? "circle-slash" : "gear");
      item.tooltip = node.process.argv.join(" ");
      item.contextValue = "process";
      return item;
    }
    case "port": {
      const item = new vscode.TreeItem(portLabel(node.port), None);
      item.description = portDescription(node.port);
      item.iconPath = new vscode.ThemeIcon(node.port.mode === "steal" ? "arrow-left" : "copy");
      item.contextValue = "port";
      return item;
    }
    case "fact": {
      const item = new vscode.TreeItem(node.label, None);
      item.description = node.description;
      item.iconPath = new vscode.ThemeIcon(node.icon);
      item.contextValue = "fact";
      return item;
    }
    case "request": {
      const { request } = node;
      const item = new vscode.TreeItem(requestLabel(request), Collapsed);
      item.collapsibleState = None;
      item.description = requestDescription(request);
      item.iconPath = new vscode.ThemeIcon({ local: "device-desktop", copied: "copy", passed: "arrow-right" }[request.outcome]);
      item.tooltip = `${new Date(request.at).toLocaleTimeString()} · port ${request.port}`;
      item.contextValue = "request";
      return item;
    }
  }
}
