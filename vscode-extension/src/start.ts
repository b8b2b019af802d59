// Starts a session: asks for what is missing, shows the progress, can be cancelled, offers the next step on failure.

import { randomUUID } from "node:crypto";

import * as vscode from "vscode";

import type { Wish } from "./attribute";
import type { Memory, Picked } from "./memory";
import { pickTarget } from "./picker";
import type { Pick } from "./picker";
import type { EffectiveConfig, LaunchFacts, SessionStart, SessionStarted, TargetsChanged } from "./rpc";
import { Cancelled, Failure } from "./server";
import type { Server } from "./server";
import type { Sessions } from "./sessions";
import { showError } from "./trouble";

/** Most tries of one start: each further one was asked for by the user. */
const TRIES = 10;

/** What to ask for, and the target that it is about. */
interface Asked {
  params: SessionStart;
  target: string;
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

  /** Lets the user pick a target for a folder; whether something was picked. */
  async pick(folder: string, reason?: string, config?: string): Promise<boolean> {
    const chosen = await this.choose(folder, reason, config);
    if (chosen === undefined) {
      return false;
    }
    await this.memory.pick(folder, chosen === "configured" ? undefined : chosen);
    this.change.fire();
    return true;
  }

  /** Lets the user choose a target, and remembers nothing. */
  async choose(folder: string, reason?: string, config?: string): Promise<Pick> {
    await this.server.ensure();
    const effective = await this.effective(folder, config);
    const picked = this.memory.picked(folder);
    return pickTarget(this.server, this.memory, this.targets.event, {
      place: picked?.place ?? placeOf(effective),
      ...(picked && { picked }),
      ...(effective?.target !== undefined && { configured: effective.target }),
      ...(reason !== undefined && { reason }),
    });
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
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      try {
        await this.server.ensure();
        const asked = await this.params(folder, wish, launch);
        return asked && (await this.once(asked.params, asked.target, token));
      } catch (error) {
        if (token?.isCancellationRequested === true || error instanceof Cancelled) {
          return undefined;
        }
        const missing = error instanceof Failure && error.problem.code === "target-missing";
        const remedy = missing ? "pick-target" : await aside(() => showError(error));
        if (remedy === undefined) {
          return undefined;
        }
        if (remedy === "pick-target") {
          delete wish.target;
          delete wish.container;
          if (!(await this.pick(folder, "Pick what the program takes the place of", wish.config))) {
            return undefined;
          }
        }
      }
    }
    return undefined;
  }

  /** The configuration that holds in a folder; nothing if the helper cannot say. */
  async effective(folder: string, config?: string): Promise<EffectiveConfig | undefined> {
    const params = { folder, ...(config !== undefined && { config }) };
    return this.server.ask("mirror/config/effective", params).catch(() => undefined);
  }

  /** What to ask for; nothing if the user does not want it after all. */
  private async params(folder: string, wish: Wish, launch: LaunchFacts): Promise<Asked | undefined> {
    const effective = await this.effective(folder, wish.config);
    let picked = wish.target === undefined ? this.memory.picked(folder) : undefined;
    if (wish.target === undefined && !picked && effective?.target === undefined) {
      if (!(await this.pick(folder, "Pick what the program takes the place of", wish.config))) {
        return undefined;
      }
      picked = this.memory.picked(folder);
    }
    const place = {
      ...picked?.place,
      ...(wish.kubeconfig !== undefined && { kubeconfig: wish.kubeconfig }),
      ...(wish.context !== undefined && { context: wish.context }),
      ...(wish.namespace !== undefined && { namespace: wish.namespace }),
    };
    const params: SessionStart = { folder, place, launch };
    const { config, traffic } = wish;
    const { target, container }: Partial<Picked> = { ...picked, ...wish };
    Object.assign(params, defined({ config, traffic, target, container }));
    const whose = target ?? effective?.target ?? "";
    const steals = (traffic ?? effective?.traffic) === "steal" && whose !== "targetless";
    const may = !steals || (await this.mayTake(place.context ?? effective?.context, effective));
    return may ? { params, target: whose } : undefined;
  }

  /** Asks before traffic is taken away in what looks like production. */
  private async mayTake(context: string | undefined, effective: EffectiveConfig | undefined): Promise<boolean> {
    const asks = vscode.workspace.getConfiguration("mirror").get<boolean>("confirmProduction", true);
    if (!asks || context === undefined || this.memory.trusts(context) || !(await this.isProduction(context, effective))) {
      return true;
    }
    const always = "Start, and Do Not Ask Again Here";
    const detail = "The session takes the target's traffic: its clients get the answers of the program on this machine.";
    const chosen = await vscode.window.showWarningMessage(`${context} looks like production.`, { modal: true, detail }, "Start", always);
    if (chosen === always) {
      await this.memory.trust(context);
    }
    return chosen !== undefined;
  }

  /** Whether a context looks like production. */
  async isProduction(context: string, effective: EffectiveConfig | undefined): Promise<boolean> {
    if (effective?.context === context) {
      return effective.production;
    }
    const { kubeconfig } = effective ?? {};
    const listed = await this.server.ask("mirror/contexts/list", kubeconfig === undefined ? {} : { kubeconfig }).catch(() => undefined);
    return listed?.contexts.find(({ name }) => name === context)?.production ?? false;
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
          this.sessions.add(started.session);
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

/** The fields that have a value. */
function defined<T extends object>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}

function placeOf(effective: EffectiveConfig | undefined): Picked["place"] {
  const { kubeconfig, context, namespace } = effective ?? {};
  return defined({ kubeconfig, context, namespace }) as Picked["place"];
}
