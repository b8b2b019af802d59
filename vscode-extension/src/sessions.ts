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
  private readonly listeners = new Set<() => void>();

  /** `maxRequests`: how many requests of a session are kept. */
  constructor(private readonly maxRequests: () => number) {}

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

  /** The session of a folder, or else of any, that needs the user most. */
  foremost(folder: string | undefined): Known | undefined {
    const all = this.all();
    const own = all.filter(({ info }) => info.folder !== undefined && info.folder === folder);
    const care = ({ info }: Known): number => CARE.indexOf(info.state);
    return (own.length > 0 ? own : all).reduce<Known | undefined>(
      (first, one) => (first === undefined || care(one) > care(first) ? one : first),
      undefined,
    );
  }

  /** A session that has been started or listed. */
  add(info: SessionInfo): void {
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
