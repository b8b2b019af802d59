// js-debug without an editor: the extension that comes with the editor runs in this process on a stand-in for the API.
//
// It has no debug adapter that runs alone. What it registers is used as the editor does it: its resolver completes a
// configuration, its factory opens a socket for each session, on which it speaks DAP.

import Module, { createRequire } from "node:module";
import { join } from "node:path";

import { Adapter } from "./peers.mjs";

/** What the extension uses of the API beside what is below: it may be called, made and asked, and does nothing. */
const nothing = new Proxy(function () {}, {
  get: (base, name) => (name === "prototype" ? base.prototype : typeof name === "symbol" || name === "then" ? undefined : nothing),
  apply: () => nothing,
});
// What is made of it, too.
Object.setPrototypeOf(nothing.prototype, nothing);

/** A part of the API: what is not in it is `nothing`. */
const part = (known) => Object.setPrototypeOf(known, nothing);

const state = { get: (_name, value) => value, update: async () => {}, keys: () => [], setKeysForSync: () => {} };
const uri = (path) => ({ scheme: "file", path, fsPath: path, toString: () => `file://${path}` });

/** js-debug. */
export class JsDebug {
  /** `modules` has the editor, `folder` is for what the extension keeps. */
  constructor(modules, folder) {
    this.factories = {};
    this.resolvers = {};
    this.sessions = 0;
    this.children = [];
    const editor = join(modules, "node_modules/code-server/lib/vscode");
    const path = join(editor, "extensions/ms-vscode.js-debug");
    // What the editor puts before `PATH`, from which `mirror` sees where it is installed.
    this.bin = join(editor, "bin/remote-cli");
    const { _load: load } = Module;
    Module._load = (name, ...more) => (name === "vscode" ? this.#api() : load(name, ...more));
    const require = createRequire(import.meta.url);
    const { activate } = require(join(path, "src/extension.js"));
    const places = { extensionPath: path, extensionUri: uri(path), storagePath: folder, globalStoragePath: folder, logPath: folder };
    const extension = { packageJSON: require(join(path, "package.json")) };
    activate(part({ ...places, extension, subscriptions: [], globalState: state, workspaceState: state }));
  }

  #api() {
    const registered = () => ({ dispose: () => {} });
    const debug = {
      registerDebugAdapterDescriptorFactory: (type, factory) => registered((this.factories[type] = factory)),
      registerDebugConfigurationProvider: (type, provider) => registered((this.resolvers[type] ??= []).push(provider)),
      startDebugging: async (_folder, configuration) => this.children.push(configuration) > 0,
    };
    const settings = { get: (_name, value) => value, has: () => false, inspect: () => undefined };
    return part({
      debug: part(debug),
      DebugAdapterNamedPipeServer: class {
        constructor(path) {
          this.path = path;
        }
      },
      Uri: part({ file: uri }),
      extensions: part({ getExtension: () => undefined, all: [] }),
      l10n: { t: (text) => text.message ?? text },
      workspace: part({ getConfiguration: () => settings, getWorkspaceFolder: () => undefined, workspaceFolders: [] }),
    });
  }

  /** A configuration as the editor debugs it. */
  async resolve(configuration) {
    for (const resolver of this.resolvers[configuration.type]) {
      const resolved = await resolver.resolveDebugConfigurationWithSubstitutedVariables?.(undefined, configuration);
      configuration = resolved ?? configuration;
    }
    return configuration;
  }

  /** The adapter of a new session, up to where it wants breakpoints. */
  async begin(configuration) {
    const { type, name, request } = configuration;
    const session = { id: String((this.sessions += 1)), type, name, configuration };
    const { path } = await this.factories[type].createDebugAdapterDescriptor(session);
    const adapter = await Adapter.connect(path);
    await adapter.ask("initialize", { adapterID: type, pathFormat: "path", linesStartAt1: true, columnsStartAt1: true });
    const began = adapter.ask(request, configuration);
    await adapter.event("initialized", true);
    return { adapter, began };
  }

  /** What the adapter starts for the program itself: the session that has its threads. */
  async child() {
    const end = Date.now() + 60_000;
    while (this.children.length === 0) {
      if (Date.now() > end) throw new Error("js-debug starts no session for the program");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return this.children.shift();
  }
}
