// JDWP under the launch plan: jdb sets a breakpoint in a Java program, a request of the cluster hits it.

import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { finished } from "../editor.mjs";
import { Helper } from "../peers.mjs";
import { ask, facts, note } from "../story.mjs";

const PROGRAM = `import com.sun.net.httpserver.*;
import java.net.InetSocketAddress;

public class Shop {
    static void answer(HttpExchange exchange) throws java.io.IOException {
        String caller = exchange.getRequestHeaders().getFirst("x-caller");
        byte[] body = ("from this machine to " + caller + "\\n").getBytes();
        exchange.sendResponseHeaders(200, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    public static void main(String[] words) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(Integer.parseInt(words[0])), 0);
        server.createContext("/", Shop::answer);
        server.start();
        System.out.println("listens");
    }
}
`;
const LINE = 7;

writeFileSync(join(facts.folder, "Shop.java"), PROGRAM);
await finished(spawn("javac", ["-g", "-d", facts.folder, join(facts.folder, "Shop.java")], { stdio: "pipe" }), 60_000);
const free = createServer().listen(0, "127.0.0.1");
await new Promise((resolve) => free.once("listening", resolve));
const { port } = free.address();
await new Promise((resolve) => free.close(resolve));

const helper = await Helper.start(facts.mirror);
const configuration = { type: "java", request: "launch", name: "shop", mainClass: "Shop", classPaths: [facts.folder], args: facts.port, port };
const started = await helper.ask("mirror/session/start", {
  folder: facts.folder,
  target: facts.target,
  launch: { type: "java", name: "shop", configuration },
});
if (!started.plan.debuggerPorts.includes(port)) throw new Error(`the debugger's port ${port} is not left alone`);
note("the session stands");

const { env } = started.plan.configuration;
const agent = `-agentlib:jdwp=transport=dt_socket,server=y,suspend=y,address=127.0.0.1:${port}`;
const java = spawn("java", [agent, "-cp", facts.folder, "Shop", facts.port], { env: { ...process.env, ...env }, stdio: "pipe" });
let said = "";
const listen = (child) => [child.stdout, child.stderr].forEach((stream) => stream.on("data", (data) => (said += data)));
listen(java);

/** Waits for something that either program prints from now on. */
async function says(text) {
  const end = Date.now() + 90_000;
  while (!said.includes(text)) {
    if (Date.now() > end) throw new Error(`no ${text} in:\n${said}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  said = said.slice(said.indexOf(text) + text.length);
}

await says("Listening for transport");
const jdb = spawn("jdb", ["-attach", `127.0.0.1:${port}`], { stdio: "pipe" });
listen(jdb);
jdb.stdin.write(`stop at Shop:${LINE}\n`);
await says("Deferring breakpoint");
jdb.stdin.write("run\n");
await says("listens");
await helper.notification("mirror/session/ports", ({ ports }) => ports.some((one) => String(one.port) === facts.port));
note("the program runs, its port is open");

const answer = ask("/", ["x-caller: a-pod"]);
await says("Breakpoint hit");
jdb.stdin.write("print caller\n");
await says('caller = "a-pod"');
note("the breakpoint is hit, the variable shows the caller");
jdb.stdin.write("cont\n");
if ((await answer) !== "from this machine to a-pod") throw new Error(await answer);
note(`the caller got: ${await answer}`);

java.kill();
await new Promise((resolve) => (java.exitCode !== null || java.signalCode !== null ? resolve() : java.once("exit", resolve)));
jdb.kill();
await helper.ask("mirror/session/stop", { session: started.session.session });
await helper.end();
if ((await ask("/who")) !== "from pod") throw new Error("the pod does not answer again");
note("told");
