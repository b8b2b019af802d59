// What is known of the sessions of this machine, kept by the helper's notifications. Knows nothing of VS Code.

import type {
  RequestSeen,
  SessionApplied,
  SessionInfo,
  SessionPorts,
  SessionProcesses,
  SessionRequests,
  SessionState,
  SessionStateChanged,
} from "./rpc";

/** A session with what came to it. */
export interface Known {
  info: SessionInfo;
  /** The newest first. */
  requests: RequestSeen[];
  /** How many requests are not in the list, because there were too many. */
  omitted: number;
}

/** How much the user must care, the least first. */
const CARE: readonly SessionState[] = ["ended", "active", "waiting-for-program", "starting", "degraded", "lost"];

/** The sessions. */
export class Sessions {
  private readonly known = new Map<string, Known>();
  /** Those that this window has started. */
  private readonly begun = new Set<string>();
  /** Those that are over, and those that the user ends: what still comes of them is no news. */
  private readonly over = new Set<string>();
  /** All that anything was ever heard of. */
  private readonly heard = new Set<string>();
  private readonly listeners = new Set<() => void>();

  /** `maxRequests`: how many requests of a session are kept; `folders`: those of this window. */
  constructor(
    private readonly maxRequests: () => number,
    private readonly folders: () => string[],
  ) {}

  /** Told when anything has changed. */
  onDidChange(listener: () => void): { dispose: () => void } {
    this.listeners.add(listener);
    return { dispose: () => this.listeners.delete(listener) };
  }

  /** Those that are not over, the oldest first. */
  all(): Known[] {
    return [...this.known.values()].sort((a, b) => a.info.started - b.info.started);
  }

  get(session: string): Known | undefined {
    return this.known.get(session);
  }

  /** Whether a session is this window's: others list it, and leave it alone. */
  isOwn({ session, folder }: SessionInfo): boolean {
    const isIn = (one: string): boolean => folder === one || folder?.startsWith(`${one}/`) === true;
    return this.begun.has(session) || this.folders().some(isIn);
  }

  /** Whether this is the first that is heard of a session: it was begun elsewhere. */
  isNew(session: string): boolean {
    const isNew = !this.heard.has(session);
    this.heard.add(session);
    return isNew;
  }

  /** The session of a folder, or else of this window, that needs the user most. */
  foremost(folder: string | undefined): Known | undefined {
    const own = this.all().filter(({ info }) => this.isOwn(info));
    const here = own.filter(({ info }) => info.folder === folder);
    const care = ({ info }: Known): number => CARE.indexOf(info.state);
    return (here.length > 0 ? here : own).reduce<Known | undefined>(
      (first, one) => (first === undefined || care(one) > care(first) ? one : first),
      undefined,
    );
  }

  /** A session that this window has started. */
  begin(info: SessionInfo): void {
    this.begun.add(info.session);
    this.add(info);
  }

  /** The user ends a session. */
  leave(session: string): void {
    this.over.add(session);
    this.known.delete(session);
    this.tell();
  }

  /** A session could not be ended: it may be listed again. */
  stay(session: string): void {
    this.over.delete(session);
  }

  /** A session that has been started or listed. */
  add(info: SessionInfo): void {
    this.heard.add(info.session);
    if (this.over.has(info.session)) {
      return;
    }
    const before = this.known.get(info.session);
    this.known.set(info.session, { requests: [], omitted: 0, ...before, info });
    this.tell();
  }

  /** All that there are: others are over. */
  replace(infos: SessionInfo[]): void {
    const names = new Set(infos.map((info) => info.session));
    for (const name of this.known.keys()) {
      if (!names.has(name)) {
        this.known.delete(name);
      }
    }
    infos.filter((info) => info.state !== "ended").forEach((info) => { this.add(info); });
    this.tell();
  }

  /** A session is in another state; one that is over is forgotten. What it was is returned. */
  state({ session, state, cause }: SessionStateChanged): Known | undefined {
    const one = this.known.get(session);
    if (state === "ended") {
      this.over.add(session);
    }
    if (!one) {
      return undefined;
    }
    const before = { ...one };
    if (state === "ended") {
      this.known.delete(session);
    } else {
      one.info = { ...one.info, state, cause };
    }
    this.tell();
    return before;
  }

  processes({ session, processes }: SessionProcesses): void {
    this.change(session, (one) => { one.info = { ...one.info, processes }; });
  }

  ports({ session, ports }: SessionPorts): void {
    this.change(session, (one) => { one.info = { ...one.info, ports }; });
  }

  /** Another configuration. */
  updated({ session, traffic, filtered }: SessionApplied): Known | undefined {
    this.change(session, (one) => { one.info = { ...one.info, traffic, filtered }; });
    return this.known.get(session);
  }

  /** Requests that came, or whose answers are known now. */
  requests({ session, requests, omitted }: SessionRequests): void {
    this.change(session, (one) => {
      for (const request of requests) {
        const index = one.requests.findIndex(({ id }) => id === request.id);
        if (index >= 0) {
          one.requests[index] = request;
        } else {
          one.requests.unshift(request);
        }
      }
      const kept = one.requests.slice(0, this.maxRequests());
      one.omitted += omitted + one.requests.length - kept.length;
      one.requests = kept;
    });
  }

  clearRequests(): void {
    this.known.forEach((one) => {
      one.requests = [];
      one.omitted = 0;
    });
    this.tell();
  }

  private change(session: string, how: (one: Known) => void): void {
    const one = this.known.get(session);
    if (one) {
      how(one);
      this.tell();
    }
  }

  private tell(): void {
    this.listeners.forEach((listener) => { listener(); });
  }
}
