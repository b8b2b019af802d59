import assert from "node:assert/strict";
import { test } from "node:test";

import { commandLine } from "../src/commandline";
import { configurationNames } from "../src/names";
import { problemText } from "../src/problem";
import type { EffectiveConfig, SessionInfo } from "../src/rpc";
import { age, otherPlaceText, processLabel, requestDescription, requestLabel, statusText } from "../src/words";
import type { Situation } from "../src/words";

const situation = (fields: Partial<Situation>): Situation => ({ helper: "running", enabled: false, version: "0.1.0", ...fields });
const shown = (fields: Partial<Situation>): [string, string] => {
  const { text, colour } = statusText(situation(fields));
  return [text, colour];
};

test("the status item tells each state apart", () => {
  const picked = { place: { context: "dev", namespace: "shop" }, target: "deployment/web" };
  const session = (state: SessionInfo["state"]): SessionInfo => ({
    session: "a", version: "", origin: "editor", state, started: 1, name: "web", context: "dev", server: "s", namespace: "default",
    target: "deployment/web", traffic: "mirror", filtered: false, processes: [], ports: [], grace: 60,
  });
  assert.deepEqual(shown({}), ["$(circle-slash) mirror (off)", "plain"]);
  assert.deepEqual(shown({ picked }), ["$(circle-slash) mirror: deployment/web (off)", "plain"]);
  assert.deepEqual(shown({ picked, enabled: true }), ["$(circle-large-outline) mirror: deployment/web", "plain"]);
  const effective: EffectiveConfig = { context: "dev", namespace: "shop", production: true, traffic: "steal", settings: [], problems: [] };
  assert.deepEqual(shown({ picked, enabled: true, effective }), ["$(circle-large-outline) mirror: deployment/web ⚠", "error"]);
  assert.deepEqual(shown({ picked, starting: "agent created", effective }), ["$(sync~spin) mirror: starting ⚠", "error"]);
  assert.deepEqual(shown({ session: session("active"), effective }), ["$(circle-filled) mirror: deployment/web", "plain"]);
  assert.deepEqual(shown({ session: { ...session("active"), production: true } }), ["$(circle-filled) mirror: deployment/web ⚠", "error"]);
  assert.match(statusText(situation({ picked, effective })).tooltip.join(" "), /Looks like production:\*\* context `dev`, namespace `shop`/);
  assert.deepEqual(shown({ starting: "agent created" }), ["$(sync~spin) mirror: starting", "plain"]);
  assert.deepEqual(shown({ session: session("active") }), ["$(circle-filled) mirror: deployment/web", "plain"]);
  assert.deepEqual(shown({ session: session("degraded") }), ["$(warning) mirror: deployment/web degraded", "warning"]);
  assert.deepEqual(shown({ session: session("lost") }), ["$(debug-disconnect) mirror: deployment/web lost", "error"]);
  assert.deepEqual(shown({ helper: "failed" }), ["$(error) mirror: no helper", "error"]);
  assert.match(statusText(situation({ picked })).tooltip.join(" "), /Context `dev`, namespace `shop`/);
});

test("a target that was picked elsewhere needs more keys than its name", () => {
  const picked = { place: { context: "dev", namespace: "shop" }, target: "deployment/web" };
  assert.equal(otherPlaceText(picked, { context: "dev", namespace: "shop" }), undefined);
  const text = otherPlaceText(picked, { context: "test", namespace: "default" });
  assert.equal(text, "deployment/web is elsewhere: set kube_context to dev and target.namespace to shop in the configuration, too.");
  assert.match(otherPlaceText(picked, { context: "dev" }) ?? "", /set target.namespace to shop in/);
});

test("a problem is one text with its next step", () => {
  const problem = { code: "permission", message: "cannot list pods in shop", causes: ["forbidden"], next: "ask for the rule", actions: [] };
  assert.equal(problemText(problem), "Cannot list pods in shop: forbidden. Ask for the rule.");
});

test("requests, processes and ages are lines", () => {
  const request = { id: 1, at: 1, port: 80, client: "10.0.0.1", outcome: "passed" } as const;
  assert.equal(requestLabel(request), "connection to port 80");
  assert.equal(requestLabel({ ...request, method: "GET", path: "/a" }), "GET /a");
  assert.equal(requestDescription({ ...request, status: 200, milliseconds: 3 }), "200 · 3 ms · passed to the target · from 10.0.0.1");
  assert.equal(processLabel({ pid: 1, argv: ["/usr/bin/node", "server.js"], skipped: false, since: 1 }), "node server.js");
  assert.deepEqual([age(0), age(61), age(7_200), age(400_000)], ["0 s old", "1 min old", "2 h old", "4 d old"]);
});

test("a task of ours is `mirror exec`", () => {
  const picked = { place: { context: "dev", namespace: "shop" }, target: "deployment/web", container: "app" };
  assert.deepEqual(commandLine({ command: "npm", args: ["start"] }, picked).words, [
    "exec", "--target", "deployment/web", "--container", "app", "--context", "dev", "--namespace", "shop", "--", "npm", "start",
  ]);
  const own = commandLine({ command: "sh", target: "pod/a", config: "c", traffic: "off" }, picked);
  assert.deepEqual(own.words, ["exec", "--config", "c", "--target", "pod/a", "--", "sh"]);
  assert.deepEqual(own.env, { MIRROR_NETWORK_INCOMING_MODE: "off" });
});

test("configurations of launch.json are found with their places", () => {
  const text = `{
  // "name": "no"
  "configurations": [
    { "name": "a", "env": { "name": "no" }, "args": ["name", "no"] },
    { "type": "node", /* "name": "no" */ "name": "b \\"c\\"", "request": "launch" },
    { "name": "no lens", "request": "attach" },
  ],
  "compounds": [{ "name": "all", "configurations": ["a"] }]
}`;
  const found = configurationNames(text);
  assert.deepEqual(found.map(({ name }) => name), ["a", 'b "c"', "all"]);
  assert.ok(found.every(({ offset }) => text[offset] === "{"));
});
