// Programs that speak in messages with `Content-Length`: `mirror serve` (JSON-RPC), and debug adapters (DAP).

import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";

/** Longest wait for a message. */
const PATIENCE = 90_000;

/** A peer that reads what is written to `to`, writes to `from`, and is gone when `gone` is. */
class Peer {
  constructor(name, to, from, gone) {
    this.name = name;
    this.to = to;
    this.gone = gone;
    this.number = 0;
    this.seen = [];
    this.waiting = [];
    this.said = "";
    let rest = Buffer.alloc(0);
    from.on("data", (data) => {
      rest = Buffer.concat([rest, data]);
      for (;;) {
        const end = rest.indexOf("\r\n\r\n");
        const length = end < 0 ? undefined : Number(/Content-Length: (\d+)/i.exec(rest.subarray(0, end).toString())?.[1]);
        if (length === undefined || rest.length < end + 4 + length) return;
        const body = rest.subarray(end + 4, end + 4 + length).toString();
        rest = rest.subarray(end + 4 + length);
        this.came(JSON.parse(body));
      }
    });
  }

  /** A program on its standard input and output. */
  static spawn(program, words, options) {
    const child = spawn(program, words, { ...options, stdio: ["pipe", "pipe", "pipe"] });
    const peer = new this([program, ...words].join(" "), child.stdin, child.stdout, once(child, "exit"));
    child.stderr.on("data", (data) => (peer.said = (peer.said + data).slice(-20_000)));
    return peer;
  }

  /** Who listens on a Unix socket. */
  static async connect(path) {
    const socket = connect(path);
    await once(socket, "connect");
    return new this(path, socket, socket, once(socket, "close"));
  }

  came(message) {
    this.seen.push(message);
    this.waiting = this.waiting.filter(({ is, resolve }) => !(is(message) && (resolve(message), true)));
  }

  send(message) {
    const body = JSON.stringify(message);
    this.to.write(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  }

  /** A message that comes from now on, or, if `before` is true, has come already. */
  message(what, is, before = false) {
    const there = before ? this.seen.find(is) : undefined;
    if (there) return Promise.resolve(there);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const last = this.seen.slice(-5).map((message) => JSON.stringify(message).slice(0, 400));
        reject(new Error(`${this.name}: no ${what}\nlast:\n${last.join("\n")}\n${this.said}`));
      }, PATIENCE);
      this.waiting.push({ is, resolve: (message) => (clearTimeout(timer), resolve(message)) });
    });
  }

  /** Ends it, and waits for that. */
  async end() {
    this.to.end();
    await this.gone;
  }
}

/** `mirror serve`. */
export class Helper extends Peer {
  static async start(mirror, environment = {}) {
    const helper = Helper.spawn(mirror, ["serve"], { env: { ...process.env, ...environment } });
    await helper.ask("initialize", { processId: process.pid, rootUri: null, capabilities: {} });
    helper.send({ jsonrpc: "2.0", method: "initialized", params: {} });
    return helper;
  }

  async ask(method, params) {
    this.number += 1;
    const id = this.number;
    const answer = this.message(`answer to ${method}`, (message) => message.id === id && message.method === undefined);
    this.send({ jsonrpc: "2.0", id, method, params });
    const { result, error } = await answer;
    if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
    return result;
  }

  notification(method, is) {
    return this.message(method, (message) => message.method === method && is(message.params), true);
  }
}

/** A debug adapter. */
export class Adapter extends Peer {
  async ask(command, args = {}) {
    this.number += 1;
    const seq = this.number;
    const answer = this.message(`answer to ${command}`, (message) => message.type === "response" && message.request_seq === seq);
    this.send({ type: "request", seq, command, arguments: args });
    const { success, body, message } = await answer;
    if (!success) throw new Error(`${command}: ${message} ${JSON.stringify(body)}`);
    return body;
  }

  event(name, before = false) {
    return this.message(`event ${name}`, (message) => message.type === "event" && message.event === name, before);
  }
}
