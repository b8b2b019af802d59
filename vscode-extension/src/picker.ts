// The target picker: opens at once with what is known, follows the cluster while it is open.

import * as vscode from "vscode";

import type { Memory, Picked } from "./memory";
import { problemOf, problemText } from "./problem";
import { containerRows, narrowed, rows } from "./rows";
import type { Choice, Offer, Row } from "./rows";
import type { Place, Problem, TargetRow, TargetsChanged } from "./rpc";
import { Failure } from "./server";
import type { Server } from "./server";
import { showProblem } from "./trouble";

/** What the user wants: a target, the configuration's own, or (escaped) nothing. */
export type Pick = Picked | "configured" | undefined;

/** Most rows that are shown at a time. */
const ROWS = 1_000;

/** Draws the list anew when the cluster has changed, at most every so many milliseconds. */
const PACE = 200;

interface Item extends vscode.QuickPickItem {
  row?: Row;
}

const PIN: vscode.QuickInputButton = { iconPath: new vscode.ThemeIcon("pin"), tooltip: "Pin to the top" };
const UNPIN: vscode.QuickInputButton = { iconPath: new vscode.ThemeIcon("pinned"), tooltip: "Unpin" };
const CONTAINERS: vscode.QuickInputButton = { iconPath: new vscode.ThemeIcon("list-tree"), tooltip: "Pick a container" };
const SWITCH: vscode.QuickInputButton = { iconPath: new vscode.ThemeIcon("symbol-namespace"), tooltip: "Namespaces and contexts" };

/** How a picker begins. */
export interface Beginning {
  place: Place;
  picked?: Picked;
  configured?: string;
  /** Said above the list when there is a reason to ask. */
  reason?: string;
}

/** Opens the picker. */
export function pickTarget(server: Server, memory: Memory, changes: vscode.Event<TargetsChanged>, beginning: Beginning): Promise<Pick> {
  return new Picker(server, memory, beginning).pick(changes);
}

class Picker {
  private readonly input = vscode.window.createQuickPick<Item>();
  private readonly targets = new Map<string, TargetRow>();
  private readonly offer: Offer;
  private place: Place;
  private watch: string | undefined;
  private early: TargetsChanged[] = [];
  private problems: Problem[] = [];
  /** Counts the places that were looked at: answers for an earlier one come too late. */
  private turn = 0;
  private isOver = false;
  private container: TargetRow | undefined;
  private timer: NodeJS.Timeout | undefined;
  private result: Pick;

  constructor(
    private readonly server: Server,
    private readonly memory: Memory,
    beginning: Beginning,
  ) {
    this.place = beginning.place;
    this.offer = {
      targets: [],
      contexts: [],
      namespaces: [],
      context: beginning.place.context ?? "",
      namespace: beginning.place.namespace ?? "",
      pinned: [],
      recent: [],
      complete: false,
      ...(beginning.picked && { picked: beginning.picked }),
      ...(beginning.configured !== undefined && { configured: beginning.configured }),
    };
    this.input.placeholder = beginning.reason ?? "Type to filter by name, kind, image, namespace or context";
    this.input.matchOnDescription = true;
    this.input.matchOnDetail = true;
    this.input.keepScrollPosition = true;
    this.input.buttons = [SWITCH];
  }

  async pick(changes: vscode.Event<TargetsChanged>): Promise<Pick> {
    const listening = changes((change) => { this.changed(change); });
    const hidden = new Promise<void>((resolve) => { this.input.onDidHide(() => { resolve(); }); });
    this.input.onDidChangeValue(() => {
      if (this.targets.size > ROWS) {
        this.later();
      }
    });
    this.input.onDidAccept(() => { this.accept(); });
    this.input.onDidTriggerButton((button) => { this.titleButton(button); });
    this.input.onDidTriggerItemButton(({ item, button }) => { void this.itemButton(item, button); });
    this.show();
    this.input.show();
    void this.look();
    await hidden;
    this.isOver = true;
    this.turn += 1;
    clearTimeout(this.timer);
    listening.dispose();
    this.input.dispose();
    void this.unwatch();
    return this.result;
  }

  /** Asks for what is in the place, and keeps asking. */
  private async look(): Promise<void> {
    this.turn += 1;
    const turn = this.turn;
    await this.unwatch();
    this.targets.clear();
    this.early = [];
    this.problems = [];
    this.offer.complete = false;
    this.show();
    const { kubeconfig } = this.place;
    const contexts = this.server.ask("mirror/contexts/list", kubeconfig === undefined ? {} : { kubeconfig });
    const namespaces = this.server.ask("mirror/namespaces/list", this.place);
    const watched = this.server.ask("mirror/targets/watch", { place: this.place });
    const still = (): boolean => turn === this.turn;
    await Promise.all([
      contexts.then((answer) => { if (still()) { this.offer.contexts = answer.contexts; } }, () => undefined),
      namespaces.then((answer) => { if (still()) { this.offer.namespaces = answer.namespaces; this.show(); } }, () => undefined),
      watched.then(
        ({ watch, targets }) => {
          if (!still()) {
            void this.server.ask("mirror/targets/unwatch", { watch }).catch(() => undefined);
            return;
          }
          this.watch = watch;
          this.offer.context = targets.context;
          this.offer.namespace = targets.namespace;
          this.place = { ...this.place, context: targets.context, namespace: targets.namespace };
          targets.targets.forEach((row) => this.targets.set(row.path, row));
          this.offer.complete = targets.complete;
          this.problems = targets.problems;
          this.early.forEach((change) => { this.changed(change); });
          this.show();
        },
        (error: unknown) => {
          if (still()) {
            this.offer.complete = true;
            this.problems = [error instanceof Failure ? error.problem : problemOf(String(error))];
            this.show();
          }
        },
      ),
    ]);
    if (still()) {
      this.show();
    }
  }

  private async unwatch(): Promise<void> {
    const watch = this.watch;
    this.watch = undefined;
    if (watch !== undefined) {
      await this.server.ask("mirror/targets/unwatch", { watch }).catch(() => undefined);
    }
  }

  private changed(change: TargetsChanged): void {
    if (this.watch === undefined) {
      this.early.push(change);
    } else if (change.watch === this.watch) {
      change.changed.forEach((row) => this.targets.set(row.path, row));
      change.removed.forEach((path) => this.targets.delete(path));
      this.offer.complete = change.complete;
      this.problems = change.problems;
      this.later();
    }
  }

  private later(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.show();
    }, PACE);
  }

  /** Draws the list; the row that was active stays so. */
  private show(): void {
    const { offer, input } = this;
    const where = offer.context === "" ? "" : ` in ${offer.namespace} of ${offer.context}`;
    const production = offer.contexts.find(({ name }) => name === offer.context)?.production === true;
    input.title = this.container ? `Container of ${this.container.path}` : `Target${where}${production ? " ⚠ looks like production" : ""}`;
    input.busy = !offer.complete;
    const problems = this.problems.map(
      (problem): Item => ({ label: `$(warning) ${problemText(problem)}`, alwaysShow: true, row: told({ kind: "problem", problem }) }),
    );
    const { rows: list, omitted } = narrowed(this.container ? containerRows(this.container) : this.targetRows(), input.value, ROWS);
    const more: Item[] = omitted > 0 ? [{ label: `$(ellipsis) ${omitted} more: type to narrow`, alwaysShow: true, row: told({ kind: "nothing" }) }] : [];
    const waits: Item[] =
      !offer.complete && this.targets.size === 0 && !this.container
        ? [{ label: "$(sync~spin) Asking the cluster…", alwaysShow: true, row: told({ kind: "nothing" }) }]
        : [];
    const active = input.activeItems[0]?.row?.id;
    input.items = [...problems, ...waits, ...list.map(item), ...more];
    const same = input.items.find((one) => one.row?.id === active);
    if (same && active !== undefined) {
      input.activeItems = [same];
    }
  }

  private targetRows(): Row[] {
    this.offer.targets = [...this.targets.values()];
    this.offer.pinned = this.memory.pinned(this.place);
    this.offer.recent = this.memory.recent(this.place);
    return rows(this.offer, Date.now());
  }

  private accept(): void {
    const choice = this.input.selectedItems[0]?.row?.choice;
    if (choice !== undefined && choice !== "heading") {
      this.choose(choice);
    }
  }

  private choose(choice: Choice): void {
    switch (choice.kind) {
      case "nothing":
        return;
      case "problem":
        void this.remedy(choice.problem);
        return;
      case "namespace":
        return this.move({ ...this.place, namespace: choice.name });
      case "context": {
        const { kubeconfig } = this.place;
        return this.move({ ...(kubeconfig !== undefined && { kubeconfig }), context: choice.name });
      }
      case "configured":
        return this.done("configured");
      case "targetless":
        return this.done({ place: this.place, target: "targetless" });
      case "container":
        return this.done({ place: this.place, target: choice.row.path, container: choice.container });
      case "target":
        if (choice.row.available) {
          return this.done({ place: this.place, target: choice.row.path });
        }
        this.input.placeholder = `${choice.row.path}: ${choice.row.reason ?? "not available now"}`;
    }
  }

  /** The next steps of a problem are buttons of a notification. The picker waits for them: the list may be whole then. */
  private async remedy(problem: Problem): Promise<void> {
    this.input.ignoreFocusOut = true;
    const remedy = await showProblem(problem, "warning");
    if (remedy !== undefined && this.isOver) {
      await vscode.commands.executeCommand("mirror.pickTarget");
    } else if (remedy !== undefined) {
      await this.look();
    }
    this.input.ignoreFocusOut = false;
  }

  private move(place: Place): void {
    this.place = place;
    this.offer.context = place.context ?? "";
    this.offer.namespace = place.namespace ?? "";
    this.input.value = "";
    void this.look();
  }

  private done(pick: Pick): void {
    this.result = pick;
    this.input.hide();
  }

  private titleButton(button: vscode.QuickInputButton): void {
    if (button === vscode.QuickInputButtons.Back) {
      this.container = undefined;
      this.input.buttons = [SWITCH];
      this.show();
    } else {
      // Those rows say what they are, so that the filter finds them.
      const first = this.input.items.find((one) => one.row?.choice !== "heading" && one.row?.id.startsWith("namespace:") === true);
      this.input.value = "";
      this.input.activeItems = first ? [first] : [];
    }
  }

  private async itemButton(one: Item, button: vscode.QuickInputButton): Promise<void> {
    const choice = one.row?.choice;
    if (choice === undefined || choice === "heading" || choice.kind !== "target") {
      return;
    }
    if (button === CONTAINERS) {
      this.container = choice.row;
      this.input.value = "";
      this.input.buttons = [vscode.QuickInputButtons.Back];
    } else {
      await this.memory.togglePin(this.place, choice.row.path);
    }
    this.show();
  }
}

function item(row: Row): Item {
  if (row.choice === "heading") {
    return { label: row.label, kind: vscode.QuickPickItemKind.Separator };
  }
  const buttons = row.choice.kind === "target" ? [...(row.choice.row.containers.length > 1 ? [CONTAINERS] : []), row.pinned ? UNPIN : PIN] : [];
  return { label: row.label, description: row.description, buttons, row, ...(row.detail !== "" && { detail: row.detail }) };
}

/** A row that tells something. */
function told(choice: Choice): Row {
  return { id: choice.kind, label: "", description: "", detail: "", choice, pinned: false };
}
