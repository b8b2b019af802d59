// The rows of the target picker and their order. Knows nothing of VS Code.

import type { Picked } from "./memory";
import type { ContextRow, NamespaceRow, Problem, TargetRow } from "./rpc";
import { targetDescription, targetDetail } from "./words";

/** What choosing a row does. */
export type Choice =
  | { kind: "target"; row: TargetRow }
  | { kind: "container"; row: TargetRow; container: string }
  | { kind: "targetless" }
  | { kind: "configured" }
  | { kind: "namespace"; name: string }
  | { kind: "context"; name: string }
  | { kind: "problem"; problem: Problem }
  | { kind: "nothing" };

/** A row, or a heading. */
export interface Row {
  /** What stays the same when the list changes. */
  id: string;
  label: string;
  description: string;
  detail: string;
  choice: Choice | "heading";
  pinned: boolean;
}

/** What the rows are made of. */
export interface Offer {
  targets: TargetRow[];
  contexts: ContextRow[];
  namespaces: NamespaceRow[];
  context: string;
  namespace: string;
  pinned: string[];
  recent: string[];
  picked?: Picked;
  /** The configuration's own target. */
  configured?: string;
  /** Whether more is on its way. */
  complete: boolean;
}

/** Icon and plural of the kinds. */
const KINDS: Record<string, { icon: string; heading: string }> = {
  deployment: { icon: "layers", heading: "Deployments" },
  rollout: { icon: "layers", heading: "Rollouts" },
  statefulset: { icon: "database", heading: "StatefulSets" },
  daemonset: { icon: "server-process", heading: "DaemonSets" },
  service: { icon: "globe", heading: "Services" },
  job: { icon: "gear", heading: "Jobs" },
  cronjob: { icon: "watch", heading: "CronJobs" },
  replicaset: { icon: "copy", heading: "ReplicaSets" },
  pod: { icon: "package", heading: "Pods" },
};

/** All rows, in order: pinned, recent, by kind, without a target, other namespaces, other contexts. */
export function rows(offer: Offer, now: number): Row[] {
  const byPath = new Map(offer.targets.map((row) => [row.path, row]));
  const of = (paths: string[]): TargetRow[] => paths.flatMap((path) => byPath.get(path) ?? []);
  const pinned = of(offer.pinned);
  const recent = of(offer.recent.filter((path) => !offer.pinned.includes(path)));
  const first = new Set([...pinned, ...recent].map(({ path }) => path));
  const target = (row: TargetRow): Row => targetRow(row, offer, now);
  const result: Row[] = [];
  const section = (title: string, section: Row[]): void => {
    if (section.length > 0) {
      result.push(heading(title), ...section);
    }
  };
  if (offer.configured !== undefined) {
    section("Configuration", [plainRow("configured", `$(settings-gear) ${offer.configured}`, "as the configuration file says", { kind: "configured" })]);
  }
  section("Pinned", pinned.map(target));
  section("Recent", recent.map(target));
  const others = offer.targets.filter(({ path }) => !first.has(path));
  const kinds = [...new Set([...Object.keys(KINDS), ...others.map(({ kind }) => kind)])];
  for (const kind of kinds) {
    const ofKind = others.filter((row) => row.kind === kind);
    // What another object made is rarely meant: it stands below what nothing made.
    const sorted = [...ofKind.filter(({ owned }) => !owned), ...ofKind.filter(({ owned }) => owned)];
    section(KINDS[kind]?.heading ?? kind, sorted.map(target));
  }
  section("Without a Target", [
    plainRow("targetless", "$(circle-slash) targetless", "names and outgoing connections of the cluster only", { kind: "targetless" }),
  ]);
  section("Other Namespaces", offer.namespaces.filter(({ name }) => name !== offer.namespace).map(({ name }) =>
    plainRow(`namespace:${name}`, `$(symbol-namespace) ${name}`, "namespace", { kind: "namespace", name })));
  section("Other Contexts", offer.contexts.filter(({ name }) => name !== offer.context).map(contextRow));
  return result;
}

function targetRow(row: TargetRow, offer: Offer, now: number): Row {
  const icon = row.available ? (KINDS[row.kind]?.icon ?? "symbol-misc") : "circle-slash";
  const current = offer.picked?.target === row.path;
  return {
    id: row.path,
    label: `$(${icon}) ${row.name}`,
    description: targetDescription(row) + (current ? " · picked" : ""),
    detail: targetDetail(row, now),
    choice: { kind: "target", row },
    pinned: offer.pinned.includes(row.path),
  };
}

/** With at most `limit` targets: of more, those that fit what is typed. And how many of these are left out. */
export function narrowed(all: Row[], typed: string, limit: number): { rows: Row[]; omitted: number } {
  const targets = all.filter(isTarget);
  if (targets.length <= limit) {
    return { rows: all, omitted: 0 };
  }
  const words = typed.toLowerCase().split(/\s+/);
  const fitting = targets.filter(({ label, description, detail }) => {
    const text = `${label} ${description} ${detail}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const shown = new Set(fitting.slice(0, limit));
  const left = all.filter((row) => !isTarget(row) || shown.has(row));
  const hasRows = (index: number): boolean => left[index + 1] !== undefined && left[index + 1]?.choice !== "heading";
  return {
    rows: left.filter(({ choice }, index) => choice !== "heading" || hasRows(index)),
    omitted: fitting.length - shown.size,
  };
}

function isTarget({ choice }: Row): boolean {
  return choice !== "heading" && choice.kind === "target";
}

/** The containers of a target, as a second step. */
export function containerRows(row: TargetRow): Row[] {
  return row.containers.map(({ name, image }) => ({
    ...plainRow(`container:${name}`, `$(package) ${name}`, image, { kind: "container", row, container: name }),
  }));
}

function contextRow({ name, server, namespace, production }: ContextRow): Row {
  const about = ["context", server, production ? "looks like production" : undefined].filter((part) => part !== undefined);
  const icon = production ? "warning" : "server";
  return { ...plainRow(`context:${name}`, `$(${icon}) ${name}`, about.join(" · "), { kind: "context", name }), detail: `namespace ${namespace}` };
}

function plainRow(id: string, label: string, description: string, choice: Choice): Row {
  return { id, label, description, detail: "", choice, pinned: false };
}

function heading(label: string): Row {
  return { id: `heading:${label}`, label, description: "", detail: "", choice: "heading", pinned: false };
}
