// What is remembered from one window to the next: the switch, the target of each folder, recent and pinned targets.

import type * as vscode from "vscode";

import type { Place } from "./rpc";

/** Most targets that are remembered as recent in a context. */
const RECENT = 8;

/** A target that was picked. */
export interface Picked {
  place: Place;
  target: string;
  container?: string;
}

/** Remembers. */
export class Memory {
  constructor(private readonly extension: vscode.ExtensionContext) {}

  /** Whether all launches of this workspace go with mirror. */
  get enabled(): boolean {
    return this.extension.workspaceState.get("enabled", false);
  }

  async setEnabled(enabled: boolean): Promise<void> {
    await this.extension.workspaceState.update("enabled", enabled);
  }

  /** What was picked in a folder. */
  picked(folder: string): Picked | undefined {
    return this.extension.workspaceState.get(`picked:${folder}`);
  }

  /** Remembers what was picked; nothing: the configuration's target counts again. */
  async pick(folder: string, picked: Picked | undefined): Promise<void> {
    await this.extension.workspaceState.update(`picked:${folder}`, picked);
    if (picked?.place.context !== undefined && picked.target !== "targetless") {
      const key = recentKey(picked.place);
      const others = this.recent(picked.place).filter((target) => target !== picked.target);
      await this.extension.globalState.update(key, [picked.target, ...others].slice(0, RECENT));
    }
  }

  /** The targets that were picked in a namespace of a context, the last one first. */
  recent(place: Place): string[] {
    return this.extension.globalState.get(recentKey(place), []);
  }

  /** The targets that are pinned in a namespace of a context. */
  pinned(place: Place): string[] {
    return this.extension.globalState.get(pinnedKey(place), []);
  }

  async togglePin(place: Place, target: string): Promise<void> {
    const pinned = this.pinned(place);
    const others = pinned.filter((one) => one !== target);
    const changed = others.length < pinned.length ? others : [...others, target];
    await this.extension.globalState.update(pinnedKey(place), changed);
  }

  /** Whether the user does not want to be asked any more before a steal in a namespace of a context. */
  trusts(context: string, namespace: string): boolean {
    return this.extension.workspaceState.get(`trusts:${context}/${namespace}`, false);
  }

  async trust(context: string, namespace: string): Promise<void> {
    await this.extension.workspaceState.update(`trusts:${context}/${namespace}`, true);
  }
}

function recentKey(place: Place): string {
  return `recent:${place.context ?? ""}:${place.namespace ?? ""}`;
}

function pinnedKey(place: Place): string {
  return `pinned:${place.context ?? ""}:${place.namespace ?? ""}`;
}
