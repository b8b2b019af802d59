// Starts a session: asks for what is missing, shows the progress, can be cancelled, offers the next step on failure.

import { randomUUID } from "node:crypto";

import * as vscode from "vscode";

import type { Wish } from "./attribute";
import type { Memory, Picked } from "./memory";
import { pickTarget } from "./picker";
import type { Pick } from "./picker";
import type { EffectiveConfig, EffectiveParams, LaunchFacts, Place, SessionStart, SessionStarted, TargetsChanged } from "./rpc";
import { Cancelled, Failure } from "./server";
import type { Server } from "./server";
import type { Sessions } from "./sessions";
import { TRIES, showError } from "./trouble";
import type { Remedy } from "./trouble";

/** What to ask for, and the target that it is about. */
interface Asked {
  params: SessionStart;
  target: string;
}

/** How a target is picked. */
export interface Picking {
  /** Said above the list. */
  reason?: string;
  /** The configuration file that it is for. */
  config?: string | undefined;
  /** Where the picker begins, if not where the configuration is or the last target was picked. */
  place?: Place;
}

/** Starts sessions and picks their targets. */
export class Starter implements vscode.Disposable {
  private readonly targets = new vscode.EventEmitter<TargetsChanged>();
  private readonly change = new vscode.EventEmitter<void>();
  /** Told when `now` has changed, or what was picked. */
  readonly onDidChange = this.change.event;
  /** What the start that is going on does. */
  now: string | undefined;

  constructor(
    readonly server: Server,
    readonly memory: Memory,
    readonly sessions: Sessions,
  ) {
    server.on("mirror/targets/changed", (change) => { this.targets.fire(change); });
  }

  dispose(): void {
    this.targets.dispose();
    this.change.dispose();
  }

  /** Lets the user pick a target for a folder, and remembers it. */
  async pick(folder: string, how: Picking = {}): Promise<Pick> {
    const chosen = await this.choose(folder, how);
    if (chosen !== undefined) {
      await this.memory.pick(folder, chosen === "configured" ? undefined : chosen);
      this.change.fire();
    }
    return chosen;
  }

  /** Lets the user choose a target, and remembers nothing. */
  async choose(folder: string, { reason, config, place = {} }: Picking = {}): Promise<Pick> {
    await this.server.ensure();
    const effective = await this.effective(folder, config, place);
    const picked = this.memory.picked(folder);
    const isElsewhere = config !== undefined || Object.keys(place).length > 0;
    return pickTarget(this.server, this.memory, this.targets.event, {
      place: (isElsewhere ? undefined : picked?.place) ?? placeOf(effective ?? {}),
      ...(picked && { picked }),
      ...(effective?.target !== undefined && { configured: effective.target }),
      ...(reason !== undefined && { reason }),
    });
  }

  /** What was picked in a folder. A configuration file that is named, and has a target, wins. */
  async picked(folder: string, config?: string): Promise<Picked | undefined> {
    const named = config === undefined ? undefined : await this.effective(folder, config);
    return named?.target === undefined ? this.memory.picked(folder) : undefined;
  }

  /**
   * Starts a session. `undefined`: it was cancelled, or it failed and the user knows. `aside` runs what waits for the
   * user to read a message, which may stand there for long.
   */
  async start(
    folder: string,
    wish: Wish,
    launch: LaunchFacts,
    token?: vscode.CancellationToken,
    aside: <T>(work: () => Promise<T>) => Promise<T> = (work) => work(),
  ): Promise<SessionStarted | undefined> {
    const wanted = { ...wish };
    let remedy: Remedy;
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      try {
        if (remedy === "pick-target" && !(await this.pickFor(folder, wanted))) {
          return undefined;
        }
        await this.server.ensure();
        const asked = await this.params(folder, wanted, launch);
        return asked && (await this.once(asked.params, asked.target, token));
      } catch (error) {
        if (token?.isCancellationRequested === true || error instanceof Cancelled) {
          return undefined;
        }
        const isMissing = error instanceof Failure && error.problem.code === "target-missing";
        remedy = isMissing ? "pick-target" : await aside(() => showError(error));
        if (remedy === undefined) {
          return undefined;
        }
      }
    }
    return undefined;
  }

  /** Fails where a start would fail before it asks the cluster. */
  async check(folder: string, wish: Wish): Promise<void> {
    const wanted = await this.wanted(folder, wish);
    const { problems: [problem] } = await this.server.ask("mirror/config/effective", about(folder, wanted.config, placeOf(wanted)));
    if (problem) {
      throw new Failure(problem);
    }
  }

  /** The configuration that holds in a folder, with a place that wins over it; nothing if the helper cannot say. */
  async effective(folder: string, config?: string, place: Place = {}): Promise<EffectiveConfig | undefined> {
    return this.server.ask("mirror/config/effective", about(folder, config, place)).catch(() => undefined);
  }

  /** A wish, with what was picked if it leaves the target open. */
  private async wanted(folder: string, wish: Wish): Promise<Wish> {
    const picked = wish.target === undefined ? await this.picked(folder, wish.config) : undefined;
    return picked ? { ...wishOf(picked), ...wish } : wish;
  }

  /** Has the user pick the target of a wish; whether they did. */
  private async pickFor(folder: string, wish: Wish): Promise<boolean> {
    const reason = "Pick what the program takes the place of";
    const chosen = await this.pick(folder, { reason, config: wish.config, place: placeOf(wish) });
    if (chosen === undefined) {
      return false;
    }
    delete wish.target;
    delete wish.container;
    Object.assign(wish, chosen === "configured" ? {} : wishOf(chosen));
    return true;
  }

  /** What to ask for; nothing if the user does not want it after all. */
  private async params(folder: string, wish: Wish, launch: LaunchFacts): Promise<Asked | undefined> {
    const wanted = await this.wanted(folder, wish);
    const place = placeOf(wanted);
    const there = await this.server.ask("mirror/config/effective", about(folder, wanted.config, place));
    const whose = wanted.target ?? there.target;
    if (whose === undefined) {
      return (await this.pickFor(folder, wish)) ? this.params(folder, wish, launch) : undefined;
    }
    const { config, traffic, target, container } = wanted;
    const params: SessionStart = { folder, place, launch, ...defined({ config, traffic, target, container }) };
    const steals = (traffic ?? there.traffic) === "steal" && whose !== "targetless";
    const may = !steals || (await this.mayTake(there));
    return may ? { params, target: whose } : undefined;
  }

  /** Asks before traffic is taken away in what looks like production. */
  private async mayTake({ production, context = "", namespace = "default" }: EffectiveConfig): Promise<boolean> {
    const asks = vscode.workspace.getConfiguration("mirror").get<boolean>("confirmProduction", true);
    if (!asks || !production || this.memory.trusts(context, namespace)) {
      return true;
    }
    const always = "Start, and Do Not Ask Again Here";
    const detail = "The session takes the target's traffic: its clients get the answers of the program on this machine.";
    const question = `${context}, namespace ${namespace}, looks like production.`;
    const chosen = await vscode.window.showWarningMessage(question, { modal: true, detail }, "Start", always);
    if (chosen === always) {
      await this.memory.trust(context, namespace);
    }
    return chosen !== undefined;
  }

  /** One try, with its progress. */
  private async once(params: SessionStart, target: string, outer?: vscode.CancellationToken): Promise<SessionStarted> {
    const workDoneToken = randomUUID();
    const options = { location: vscode.ProgressLocation.Notification, title: `mirror: ${target}`, cancellable: true };
    try {
      return await vscode.window.withProgress(options, async (progress, cancelled) => {
        const both = new vscode.CancellationTokenSource();
        cancelled.onCancellationRequested(() => { both.cancel(); });
        outer?.onCancellationRequested(() => { both.cancel(); });
        this.become("The session starts.");
        const listening = this.server.onProgress(workDoneToken, (message) => {
          progress.report({ message });
          this.become(message);
        });
        try {
          const started = await this.server.ask("mirror/session/start", { ...params, workDoneToken }, both.token);
          this.sessions.begin(started.session);
          return started;
        } finally {
          listening.dispose();
          both.dispose();
        }
      });
    } finally {
      this.become(undefined);
    }
  }

  private become(now: string | undefined): void {
    this.now = now;
    this.change.fire();
  }
}

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** The fields that have a value. */
function defined<T extends object>(fields: T): Present<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<T>;
}

function placeOf({ kubeconfig, context, namespace }: Place): Place {
  return defined({ kubeconfig, context, namespace });
}

function wishOf({ place, target, container }: Picked): Wish {
  return { ...place, ...defined({ target, container }) };
}

function about(folder: string, config: string | undefined, place: Place): EffectiveParams {
  return { folder, place, ...(config !== undefined && { config }) };
}
