import assert from "node:assert/strict";
import { test } from "node:test";

import { ONLY_LAUNCHES, decide, readAttribute } from "../src/attribute";

const launch = (mirror?: unknown): Record<string, unknown> => ({ type: "node", request: "launch", ...(mirror !== undefined && { mirror }) });

test("the attribute is true, false, a path or an object", () => {
  assert.deepEqual(readAttribute(true), { wish: {} });
  assert.deepEqual(readAttribute(false), { wish: false });
  assert.deepEqual(readAttribute(undefined), { wish: undefined });
  assert.deepEqual(readAttribute("dev/.mirror.yaml"), { wish: { config: "dev/.mirror.yaml" } });
  const all = { target: "deployment/web", container: "app", context: "dev", namespace: "n", kubeconfig: "k", config: "c", traffic: "steal" };
  assert.deepEqual(readAttribute({ ...all, enabled: true }), { wish: all });
  assert.deepEqual(readAttribute({ enabled: false, target: "deployment/web" }), { wish: false });
});

test("what the attribute cannot be is named", () => {
  for (const [value, word] of [[7, "must be true"], [[], "must be true"], ["", "empty"], [{ target: 7 }, "mirror.target"], [{ traffic: "all" }, "off, mirror or steal"], [{ tagret: "x" }, "mirror.tagret"], [{ enabled: "yes" }, "true or false"]] as const) {
    const reading = readAttribute(value);
    assert.ok("wrong" in reading && reading.wrong.includes(word), JSON.stringify(reading));
  }
});

test("plain launches are plain", () => {
  assert.deepEqual(decide(launch(), false, false), { kind: "plain" });
  assert.deepEqual(decide(launch(false), false, true), { kind: "plain" });
  // Attached to, and js-debug's child sessions.
  assert.deepEqual(decide({ type: "pwa-node", request: "attach" }, true, true), { kind: "plain" });
  assert.deepEqual(decide({ type: "pwa-node", request: "attach", mirror: false }, true, true), { kind: "plain" });
});

test("what attaches cannot go with mirror, and says so if it asks for it", () => {
  for (const mirror of [true, ".mirror.json", { target: "pod/a" }]) {
    assert.deepEqual(decide({ type: "node", request: "attach", mirror }, false, false), { kind: "wrong", message: ONLY_LAUNCHES });
  }
});

test("a launch goes with mirror if it says so, is told so, or the switch is on", () => {
  assert.deepEqual(decide(launch(true), false, false), { kind: "mirror", wish: {} });
  assert.deepEqual(decide(launch(), true, false), { kind: "mirror", wish: {} });
  assert.deepEqual(decide(launch(), false, true), { kind: "mirror", wish: {} });
  assert.deepEqual(decide(launch(false), true, false), { kind: "mirror", wish: {} });
  assert.deepEqual(decide(launch({ target: "pod/a" }), false, false), { kind: "mirror", wish: { target: "pod/a" } });
  assert.equal(decide(launch(7), false, false).kind, "wrong");
});
