// The helper `mirror serve`: starts it, starts it again when it has died, and speaks with it in the types of `rpc.ts`.

import { accessSync, chmodSync, constants } from "node:fs";
import * as path from "node:path";

import * as vscode from "vscode";
import {
  CloseAction,
  ConnectionError,
  ErrorAction,
  ErrorCodes,
  LanguageClient,
  ResponseError,
  State,
  WorkDoneProgress,
} from "vscode-languageclient/node";
import type { CloseHandlerResult, LanguageClientOptions, ServerOptions } from "vscode-languageclient/node";

import { isProblem, problemOf } from "./problem";
import type { Notifications, Problem, Requests } from "./rpc";

/** How often the helper is started again within `DEATHS_WITHIN` before that is given up. */
const DEATHS = 4;
const DEATHS_WITHIN = 3 * 60_000;

/** The files that the configuration language is spoken in. */
const DOCUMENTS = ["**/*.mirror.{json,yaml,yml,toml}", "**/.mirror/mirror.json", "**/*mirrord.{json,yaml,yml,toml}"].flatMap(
  (pattern) => ["file", "untitled"].map((scheme) => ({ scheme, pattern })),
);

/** What a request comes to when the helper ends, or has ended. */
const GONE: readonly number[] = [ErrorCodes.ConnectionInactive, ErrorCodes.PendingResponseRejected];

/** Something the helper cannot do, with its own words and next steps. */
export class Failure extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message);
  }
}

/** Thrown where the user has cancelled. */
export class Cancelled extends Error {}

/** How the helper is. */
export type Health = "starting" | "running" | "restarting" | "failed";

/** A client that writes what goes wrong into the log: what the user must know, the extension says once and in its own words. */
class Quiet extends LanguageClient {
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }

  override warn(message: string, data?: unknown): void {
    super.warn(message, data, false);
  }
}

/** What an error says: the helper's own account, or that it is gone. */
function problemIn(error: unknown): Problem {
  const data: unknown = error instanceof ResponseError ? error.data : undefined;
  if (isProblem(data)) {
    return data;
  }
  if (error instanceof ConnectionError || (error instanceof ResponseError && GONE.includes(error.code))) {
    return { code: "helper", message: "the helper ended before it answered", causes: [], actions: [{ title: "Retry", kind: "retry" }] };
  }
  return problemOf(error instanceof Error ? error.message : String(error));
}

/** The helper. */
export class Server implements vscode.Disposable {
  private client: LanguageClient | undefined;
  private deaths: number[] = [];
  private readonly handlers: ((client: LanguageClient) => vscode.Disposable)[] = [];
  private readonly changed = new vscode.EventEmitter<Health>();
  /** Told when it is another way; `running` also after it has been started again. */
  readonly onDidChange = this.changed.event;
  /** How it is. */
  health: Health = "starting";
  /** Why it does not run. */
  private failure: Problem | undefined;
  /** Its version, once it has said so. */
  version = "";

  constructor(
    private readonly extension: vscode.ExtensionContext,
    /** Where the helper and the extension write what they do. */
    readonly log: vscode.LogOutputChannel,
  ) {}

  /** The executable: that of the settings, else the bundled one. */
  executable(): string {
    const named = vscode.workspace.getConfiguration("mirror").get<string>("path", "");
    if (named !== "") {
      return named;
    }
    const bundled = path.join(this.extension.extensionPath, "bin", "mirror");
    try {
      accessSync(bundled, constants.X_OK);
    } catch {
      // Some ways to install an extension lose the permission.
      chmodSync(bundled, 0o755);
    }
    return bundled;
  }

  /** Variables for the helper and for what the extension starts besides it. */
  variables(): Record<string, string> {
    return { MIRROR_LOG: vscode.workspace.getConfiguration("mirror").get<string>("logLevel", "info") };
  }

  /** Starts it. */
  async start(): Promise<void> {
    this.failure = undefined;
    this.become("starting");
    try {
      const executable = { command: this.executable(), args: ["serve"], options: { env: { ...process.env, ...this.variables() } } };
      this.client = this.makeClient({ run: executable, debug: executable });
      this.client.onDidChangeState(({ newState }) => {
        if (newState === State.Running) {
          this.version = this.client?.initializeResult?.serverInfo?.version ?? "";
          this.log.info(`mirror serve ${this.version} runs`);
          this.failure = undefined;
          this.become("running");
        } else if (newState === State.StartFailed && this.health === "restarting") {
          // Nobody waits for the client's own new start, so nobody else is told.
          this.failed("it ended, and did not start again");
        }
      });
      for (const handler of this.handlers) {
        handler(this.client);
      }
      await this.client.start();
    } catch (error) {
      throw new Failure(this.failed(error instanceof Error ? error.message : String(error)));
    }
  }

  private failed(cause: string): Problem {
    this.failure = {
      code: "helper",
      message: `the helper ${this.executableName()} cannot be started`,
      causes: [cause],
      next: "set mirror.path, or install the extension again",
      actions: [{ title: "Restart Helper", kind: "retry" }],
    };
    this.become("failed");
    return this.failure;
  }

  /** Starts it once more if it has failed. */
  async ensure(): Promise<void> {
    if (this.health === "failed") {
      await this.restart();
    }
  }

  /** Ends it and starts it again. */
  async restart(): Promise<void> {
    this.deaths = [];
    await this.client?.stop().catch(() => undefined);
    await this.client?.dispose().catch(() => undefined);
    await this.start();
  }

  /** Asks it. An answer that is an error is thrown as a [`Failure`]. */
  async ask<M extends keyof Requests>(
    method: M,
    params: Requests[M]["params"],
    token?: vscode.CancellationToken,
  ): Promise<Requests[M]["result"]> {
    if (!this.client || this.health === "failed") {
      throw new Failure(this.failure ?? problemOf("the helper does not run"));
    }
    try {
      // A token that is undefined would count as a second parameter.
      return await (token
        ? this.client.sendRequest<Requests[M]["result"]>(method, params, token)
        : this.client.sendRequest<Requests[M]["result"]>(method, params));
    } catch (error) {
      if (token?.isCancellationRequested === true) {
        throw new Cancelled();
      }
      throw new Failure(this.failure ?? problemIn(error));
    }
  }

  /** Listens to its notifications, also after it has been started again. */
  on<M extends keyof Notifications>(method: M, handler: (params: Notifications[M]) => void): void {
    const listen = (client: LanguageClient): vscode.Disposable => client.onNotification(method, handler);
    this.handlers.push(listen);
    if (this.client) {
      listen(this.client);
    }
  }

  /** Listens to the progress of one request. */
  onProgress(token: string, handler: (message: string, percentage?: number) => void): vscode.Disposable {
    if (!this.client) {
      return new vscode.Disposable(() => undefined);
    }
    return this.client.onProgress(WorkDoneProgress.type, token, (value) => {
      const percentage = "percentage" in value ? value.percentage : undefined;
      const message = value.message ?? (value.kind === "begin" ? value.title : undefined);
      if (message !== undefined) {
        handler(message, percentage);
      }
    });
  }

  dispose(): void {
    void this.client?.dispose().catch(() => undefined);
    this.changed.dispose();
  }

  private executableName(): string {
    const named = vscode.workspace.getConfiguration("mirror").get<string>("path", "");
    return named === "" ? "that came with the extension" : named;
  }

  private become(health: Health): void {
    this.health = health;
    this.changed.fire(health);
  }

  private makeClient(options: ServerOptions): LanguageClient {
    const clientOptions: LanguageClientOptions = {
      documentSelector: DOCUMENTS,
      outputChannel: this.log,
      progressOnInitialization: false,
      initializationFailedHandler: () => false,
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => this.died(),
      },
    };
    return new Quiet("mirror", "mirror", options, clientOptions);
  }

  /** The helper has ended without being told to. Sessions live on: they are processes of their own. */
  private died(): CloseHandlerResult {
    if (this.health === "starting") {
      // Who started it is told.
      return { action: CloseAction.DoNotRestart, handled: true };
    }
    const now = Date.now();
    this.deaths = [...this.deaths.filter((at) => now - at < DEATHS_WITHIN), now];
    if (this.deaths.length <= DEATHS) {
      this.become("restarting");
      void vscode.window.showWarningMessage("The mirror helper has ended and is started again. Sessions go on.", "Show Log").then((chosen) => {
        if (chosen !== undefined) {
          this.log.show();
        }
      });
      return { action: CloseAction.Restart, handled: true };
    }
    this.failed(`it ended ${this.deaths.length} times within ${DEATHS_WITHIN / 60_000} minutes`);
    const message = `The mirror helper has ended ${this.deaths.length} times within ${DEATHS_WITHIN / 60_000} minutes and is not started again.`;
    void vscode.window.showErrorMessage(message, "Restart Helper", "Show Log").then((chosen) => {
      if (chosen === "Restart Helper") {
        void vscode.commands.executeCommand("mirror.restartServer");
      } else if (chosen !== undefined) {
        this.log.show();
      }
    });
    return { action: CloseAction.DoNotRestart, handled: true };
  }
}
