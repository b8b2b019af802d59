// A real VS Code (code-server) in a real browser, driven as a person does: by keys, clicks and what is to be seen.
// It is started with everything of its own: home, settings, extensions, a free port.

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Longest wait for anything that is to be seen. */
const PATIENCE = 180_000;

/** Settings of every window: quiet, and with what the selectors below rely on. */
const SETTINGS = {
  "debug.internalConsoleOptions": "neverOpen",
  "debug.onTaskErrors": "abort",
  "debug.toolBarLocation": "floating",
  "editor.minimap.enabled": false,
  "extensions.autoCheckUpdates": false,
  "extensions.autoUpdate": false,
  "git.enabled": false,
  "remote.autoForwardPorts": false,
  "security.workspace.trust.enabled": false,
  "telemetry.telemetryLevel": "off",
  "terminal.integrated.gpuAcceleration": "off",
  "update.mode": "none",
  "window.menuBarVisibility": "classic",
  "workbench.enableExperiments": false,
  "workbench.startupEditor": "none",
  "workbench.tips.enabled": false,
};

/** One editor with one window. */
export class Editor {
  constructor(parts) {
    Object.assign(this, parts);
  }

  /**
   * Starts the server with an extension, and opens a folder in the browser.
   * `modules` has code-server and playwright-core, `home` is the user's, `pictures` is where screenshots go.
   */
  static async start({ modules, home, vsix, folder, pictures, settings = {}, environment = {} }) {
    mkdirSync(pictures, { recursive: true });
    const require = createRequire(join(modules, "package.json"));
    const { chromium } = require("playwright-core");
    const code = join(modules, "node_modules/code-server/out/node/entry.js");
    const data = join(home, "code-data");
    mkdirSync(join(data, "User"), { recursive: true });
    writeFileSync(join(data, "User/settings.json"), JSON.stringify({ ...SETTINGS, ...settings }, null, 2));
    // The extension host takes its variables from the login shell.
    writeFileSync(join(home, ".profile"), `export PATH='${process.env.PATH}'\n`);
    const places = Object.fromEntries(
      ["DATA", "CONFIG", "CACHE", "STATE"].map((name) => [`XDG_${name}_HOME`, join(home, `xdg-${name.toLowerCase()}`)]),
    );
    const env = { ...process.env, HOME: home, SHELL: "/bin/bash", ...places, ...environment };
    const own = ["--user-data-dir", data, "--extensions-dir", join(home, "code-extensions")];
    if (vsix) {
      await finished(spawn(process.execPath, [code, ...own, "--install-extension", vsix], { env, stdio: "pipe" }), PATIENCE);
    }
    const port = await freePort();
    const log = openSync(join(pictures, "code-server.log"), "a");
    const server = spawn(
      process.execPath,
      [code, ...own, "--bind-addr", `127.0.0.1:${port}`, "--auth", "none", "--disable-telemetry", "--disable-update-check"],
      { env, detached: true, stdio: ["ignore", log, log] },
    );
    closeSync(log);
    const editor = new Editor({ server, port, folder, pictures, chromium, home, n: 0 });
    process.once("SIGTERM", () => void editor.end().finally(() => process.exit(1)));
    try {
      await editor.poll("code-server answers", async () => (await fetch(editor.url("healthz"))).ok);
      editor.browser = await chromium.launch({
        executablePath: "/usr/bin/chromium",
        args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        env: { ...env },
      });
      editor.context = await editor.browser.newContext({ viewport: { width: 1440, height: 900 } });
      await editor.open();
    } catch (error) {
      await editor.end();
      throw error;
    }
    return editor;
  }

  url(path) {
    return `http://127.0.0.1:${this.port}/${path}`;
  }

  /** Opens the folder in a new page. */
  async open() {
    this.page = await this.context.newPage();
    this.page.setDefaultTimeout(PATIENCE);
    await this.page.goto(this.url(`?folder=${encodeURIComponent(this.folder)}`));
    await this.page.waitForSelector(".monaco-workbench .statusbar");
  }

  /** Loads the window again, as "Developer: Reload Window" does. */
  async reload() {
    await this.page.reload();
    await this.page.waitForSelector(".monaco-workbench .statusbar");
  }

  /** Waits until a list of the editor's offers a row: asks for the list once more where it closed, or came too early. */
  async offered(what, row, keys) {
    await this.poll(what, async () => {
      if (await row.isVisible()) return true;
      await this.page.keyboard.press("Escape");
      await this.page.keyboard.press(keys);
      return row.waitFor({ timeout: 2_000 }).then(() => true, () => false);
    });
  }

  /** Asks again and again until the answer is true; errors count as not yet, but for the last. */
  async poll(what, ask, patience = PATIENCE) {
    const end = Date.now() + patience;
    let last;
    while (Date.now() < end) {
      try {
        last = await ask();
        if (last) return last;
      } catch (error) {
        last = error;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`not within ${patience / 1000} s: ${what} (last: ${last})`);
  }

  /** Keeps what is to be seen. */
  async picture(name) {
    this.n += 1;
    const file = join(this.pictures, `${String(this.n).padStart(2, "0")}-${name}.png`);
    await this.page.screenshot({ path: file });
  }

  /** An item of the status bar: `publisher.extension.item`. */
  status(id) {
    return this.page.locator(`.statusbar-item[id="${id}"]`);
  }

  /** Waits until an item of the status bar says something, and returns all that it says. */
  async statusSays(id, text, patience) {
    return this.poll(
      `the status item says ${text}`,
      async () => {
        const says = `${await this.status(id).innerText({ timeout: 500 })} ${await this.status(id).getAttribute("aria-label")}`;
        return says.includes(text) && says;
      },
      patience,
    );
  }

  /** The field of the open picker. */
  get pickerInput() {
    return this.page.locator(".quick-input-widget .quick-input-filter input.input");
  }

  /** The rows of the open picker. */
  get pickerRows() {
    return this.page.locator(".quick-input-list .monaco-list-row");
  }

  /** Runs a command by its title. */
  async command(title) {
    await this.page.keyboard.press("F1");
    await this.pickerInput.fill(`>${title}`);
    await this.focused(title);
  }

  /** Takes the row of the picker that has the focus, once it is the one that is meant. The list may still change. */
  async focused(text) {
    await this.page.locator(".quick-input-list .monaco-list-row.focused").filter({ hasText: text }).waitFor();
    await this.page.keyboard.press("Enter");
  }

  /** Starts a configuration of launch.json by its name. */
  async debug(name) {
    await this.page.keyboard.press("Control+p");
    await this.pickerInput.fill(`debug ${name}`);
    await this.focused(name);
  }

  /** Opens a file of the folder. */
  async file(name) {
    await this.page.keyboard.press("Control+p");
    await this.pickerInput.fill(name);
    await this.focused(name);
    await this.page.waitForSelector(`.monaco-editor[data-uri$="/${name}"] .view-line`);
  }

  /** Sets a breakpoint where the cursor goes: a line of the file that is open. */
  async breakpoint(line) {
    await this.page.keyboard.press("Control+g");
    await this.pickerInput.fill(`:${line}`);
    await this.page.keyboard.press("Enter");
    // Until then the keys are its own.
    await this.page.waitForSelector(".quick-input-widget", { state: "hidden" });
    await this.page.keyboard.press("F9");
    await this.page.waitForSelector(".glyph-margin-widgets .codicon-debug-breakpoint, .glyph-margin-widgets [class*=debug-breakpoint]");
  }

  /** Waits until the debugger stands at a line. */
  async paused() {
    await this.page.waitForSelector('.debug-toolbar .action-label[aria-label^="Continue"]');
    await this.page.waitForSelector(".debug-top-stack-frame-line");
  }

  /** Waits until the debuggee runs. */
  async running() {
    await this.page.waitForSelector('.debug-toolbar .action-label[aria-label^="Pause"]');
  }

  /** Waits until nothing is debugged. */
  async stopped() {
    await this.page.waitForSelector(".debug-toolbar", { state: "hidden" });
  }

  /** Waits for a variable of the frame that is shown. */
  async variable(name, value) {
    const row = this.page.locator(`.debug-variables .monaco-list-row[aria-label^="${name}"]`);
    return this.poll(`${name} shows ${value}`, async () => {
      const labels = await row.evaluateAll((rows) => rows.map((row) => row.getAttribute("aria-label")));
      return labels.find((label) => label.includes(value));
    });
  }

  /** The texts of the notifications that are shown. */
  async notifications() {
    return this.page.locator(".notification-list-item-message").allInnerTexts();
  }

  /** The texts in the terminal. */
  async terminal() {
    const rows = await this.page.locator(".xterm-rows").allInnerTexts();
    return rows.join("\n");
  }

  /** Process ids of the session hosts of this home. */
  async sessionHosts() {
    const said = await finished(spawn("pgrep", ["-u", String(process.getuid()), "-f", "session-host"], { stdio: "pipe" }), 10_000).catch(() => "");
    const home = `HOME=${this.home}`;
    return said.split("\n").filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(home);
      } catch {
        return false;
      }
    });
  }

  /** Ends everything. */
  async end() {
    await this.browser?.close().catch(() => {});
    try {
      process.kill(-this.server.pid, "SIGTERM");
    } catch {
      // It has ended by itself.
    }
    await new Promise((resolve) => {
      if (this.server.exitCode !== null || this.server.signalCode !== null) resolve();
      this.server.once("exit", resolve);
      setTimeout(() => {
        try {
          process.kill(-this.server.pid, "SIGKILL");
        } catch {
          // As above.
        }
      }, 5_000).unref();
    });
  }
}

async function freePort() {
  const listener = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => listener.once("listening", resolve));
  const { port } = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

/** The output of a process that must succeed. */
export async function finished(child, patience) {
  let said = "";
  child.stdout?.on("data", (data) => (said += data));
  child.stderr?.on("data", (data) => (said += data));
  const timer = setTimeout(() => child.kill("SIGKILL"), patience);
  const code = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  clearTimeout(timer);
  if (code !== 0) throw new Error(`${child.spawnargs.join(" ")}: exit code ${code}\n${said}`);
  return said;
}

/** A JSON file. */
export function json(file) {
  return JSON.parse(readFileSync(file, "utf8"));
}
