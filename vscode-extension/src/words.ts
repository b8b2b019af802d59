// How things are said: texts of the status item, the picker and the views. Knows nothing of VS Code.

import type { Picked } from "./memory";
import type { EffectiveConfig, Place, Port, Process, RequestSeen, SessionInfo, SessionState, SessionUpdated, TargetRow } from "./rpc";

/** What the status item shows. */
export interface StatusText {
  text: string;
  /** Lines of Markdown. */
  tooltip: string[];
  colour: "plain" | "warning" | "error";
}

/** What the status item says it about. */
export interface Situation {
  helper: "starting" | "running" | "restarting" | "failed";
  /** Whether all launches of this workspace go with mirror. */
  enabled: boolean;
  session?: SessionInfo;
  /** What a start is doing now. */
  starting?: string;
  picked?: Picked;
  /** The configuration, with the place that was picked over it. */
  effective?: EffectiveConfig;
  version: string;
}

/** Word and icon of each state. */
const STATES: Record<SessionState, { icon: string; word: string }> = {
  starting: { icon: "sync~spin", word: "starting" },
  "waiting-for-program": { icon: "watch", word: "waiting for the program" },
  active: { icon: "circle-filled", word: "active" },
  degraded: { icon: "warning", word: "degraded" },
  lost: { icon: "debug-disconnect", word: "lost" },
  ended: { icon: "circle-outline", word: "ended" },
};

export function stateWord(state: SessionState): string {
  return STATES[state].word;
}

export function stateIcon(state: SessionState): string {
  return STATES[state].icon;
}

/** The status item's text and tooltip. */
export function statusText(now: Situation): StatusText {
  // While something starts, the next session is meant, not the one that there is.
  const session = now.starting === undefined ? now.session : undefined;
  const place = placeOf(session ?? { ...now.effective, ...now.picked?.place });
  const production = (session ?? now.effective)?.production === true;
  const head = `**mirror**${now.version === "" ? "" : ` ${now.version}`}`;
  const where = place === undefined ? [] : [`${production ? "⚠ **Looks like production:** context" : "Context"} \`${place.context}\`, namespace \`${place.namespace}\``];
  const launches = now.enabled ? "All launches of this workspace go with mirror." : "Only launches that ask for it go with mirror.";
  const mark = production ? " ⚠" : "";
  if (now.helper === "failed") {
    return { text: "$(error) mirror: no helper", tooltip: [head, "The helper does not run."], colour: "error" };
  }
  if (now.starting !== undefined) {
    return { text: `$(sync~spin) mirror: starting${mark}`, tooltip: [head, now.starting, ...where], colour: production ? "error" : "plain" };
  }
  if (session) {
    const { state, cause, target, processes } = session;
    const about = state === "active" ? target : `${target} ${STATES[state].word}`;
    const colour = state === "lost" || production ? "error" : state === "degraded" ? "warning" : "plain";
    const lines = [
      `\`${target}\`: ${STATES[state].word}${cause === undefined || cause === "" ? "" : ` (${cause})`}`,
      ...where,
      `${count(processes.length, "process", "processes")} in the session`,
    ];
    return { text: `$(${STATES[state].icon}) mirror: ${about}${mark}`, tooltip: [head, ...lines], colour };
  }
  const target = targetOf(now);
  if (now.helper !== "running") {
    return { text: "$(sync~spin) mirror", tooltip: [head, "The helper starts."], colour: "plain" };
  }
  const what = target === undefined ? "No target is picked." : `Target \`${target.path}\`${target.from}`;
  const icon = now.enabled ? "circle-large-outline" : "circle-slash";
  const text = target === undefined ? "mirror" : `mirror: ${target.path}`;
  const colour = production && now.enabled ? "error" : "plain";
  return { text: `$(${icon}) ${text}${now.enabled ? "" : " (off)"}${target === undefined ? "" : mark}`, tooltip: [head, what, ...where, launches], colour };
}

function targetOf(now: Situation): { path: string; from: string } | undefined {
  if (now.picked) {
    return { path: now.picked.target, from: ", as picked" };
  }
  return now.effective?.target === undefined ? undefined : { path: now.effective.target, from: ", of the configuration" };
}

function placeOf({ context, namespace = "default" }: Place): { context: string; namespace: string } | undefined {
  return context === undefined ? undefined : { context, namespace };
}

/** What is left to write where a target was picked elsewhere than its configuration is. */
export function otherPlaceText({ place, target }: Picked, own: Place | undefined): string | undefined {
  const context = place.context === own?.context ? undefined : place.context;
  const namespace = place.namespace === own?.namespace ? undefined : place.namespace;
  const keys = [...(context === undefined ? [] : [`kube_context to ${context}`]), ...(namespace === undefined ? [] : [`target.namespace to ${namespace}`])];
  return keys.length === 0 ? undefined : `${target} is elsewhere: set ${keys.join(" and ")} in the configuration, too.`;
}

/** `3 processes`. */
export function count(n: number, one: string, several: string): string {
  return `${n} ${n === 1 ? one : several}`;
}

/** What stands beside a target's name: kind, readiness, image. */
export function targetDescription(row: TargetRow): string {
  const image = row.containers[0]?.image ?? "";
  const short = image.slice(image.lastIndexOf("/") + 1);
  return [row.kind, row.ready === "" ? "" : `${row.ready} ready`, short].filter((part) => part !== "").join(" · ");
}

/** What stands below a target's name: containers, ports, age, others' sessions, why it cannot be picked. */
export function targetDetail(row: TargetRow, now: number): string {
  const parts = [];
  if (!row.available) {
    parts.push(row.reason ?? "not available");
  }
  if (row.containers.length > 1) {
    parts.push(`containers ${row.containers.map(({ name }) => name).join(", ")}`);
  }
  if (row.ports.length > 0) {
    const shown = row.ports.slice(0, 4).map(({ port, name }) => (name === undefined ? String(port) : `${port} ${name}`));
    const more = row.ports.length > shown.length ? ", …" : "";
    parts.push(`${row.ports.length === 1 ? "port" : "ports"} ${shown.join(", ")}${more}`);
  }
  if (row.created > 0) {
    parts.push(age(now / 1000 - row.created));
  }
  for (const { who, mode } of row.users) {
    parts.push(mode === "steal" ? `${who} steals here` : mode === "mirror" ? `${who} mirrors here` : `${who} is here`);
  }
  return parts.join(" · ");
}

/** `3 d old`: the largest unit that fits. */
export function age(seconds: number): string {
  const units: [number, string][] = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];
  const [size, name] = units.find(([size]) => seconds >= size) ?? [1, "s"];
  return `${Math.max(0, Math.floor(seconds / size))} ${name} old`;
}

/** A request in one line: `GET /orders`. */
export function requestLabel(request: RequestSeen): string {
  return request.method === undefined ? `connection to port ${request.port}` : `${request.method} ${request.path ?? ""}`;
}

/** What came of a request: `200 · 3 ms · this machine`. */
export function requestDescription(request: RequestSeen): string {
  const who = { local: "this machine", copied: "copied", passed: "passed to the target" }[request.outcome];
  const status = request.status === undefined ? undefined : String(request.status);
  const time = request.milliseconds === undefined ? undefined : `${request.milliseconds} ms`;
  return [status, time, who, `from ${request.client}`].filter((part) => part !== undefined).join(" · ");
}

/** A process in one line: `node server.js`. */
export function processLabel(process: Process): string {
  const [program = "?", ...rest] = process.argv;
  return [program.slice(program.lastIndexOf("/") + 1), ...rest].join(" ");
}

/** A port in one line: `port 80 → 8080`. */
export function portLabel(port: Port): string {
  return `port ${port.port} → ${port.local}`;
}

/** What happens to a port's traffic. */
export function portDescription(port: Port): string {
  const what = port.mode === "steal" ? "stolen" : "mirrored";
  return port.filtered ? `${what}, by filter` : what;
}

/** What came of another configuration. */
export function updatedText({ applied, forNewProcesses, needsRestart }: SessionUpdated): string {
  const said = [
    applied.length > 0 ? `in effect now: ${applied.join(", ")}` : "",
    forNewProcesses.length > 0 ? `for processes that start from now on: ${forNewProcesses.join(", ")}` : "",
    needsRestart.length > 0 ? `needs a restart of the session: ${needsRestart.join(", ")}` : "",
  ].filter((part) => part !== "");
  return said.length > 0 ? said.join("; ") : "the session has this configuration already";
}
