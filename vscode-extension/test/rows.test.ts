import assert from "node:assert/strict";
import { test } from "node:test";

import { containerRows, narrowed, rows } from "../src/rows";
import type { Offer } from "../src/rows";
import type { TargetRow } from "../src/rpc";

function target(path: string, fields: Partial<TargetRow> = {}): TargetRow {
  const [kind = "", name = ""] = path.split("/");
  return {
    path, kind, name, namespace: "default", ready: "1/1", available: true, owned: false, created: 0, labels: {}, users: [],
    containers: [{ name: "app", image: `example.org/shop/${name}:1` }],
    ports: [{ port: 80, name: "http", protocol: "TCP" }],
    ...fields,
  };
}

function offer(fields: Partial<Offer>): Offer {
  return { targets: [], contexts: [], namespaces: [], context: "dev", namespace: "default", pinned: [], recent: [], complete: true, ...fields };
}

const ids = (fields: Partial<Offer>): string[] => rows(offer(fields), 0).map(({ id }) => id);

test("pinned and recent come first, then by kind, what nothing made before what something made", () => {
  const targets = [target("pod/b", { owned: true }), target("pod/lone"), target("deployment/web"), target("deployment/api"), target("service/web")];
  assert.deepEqual(ids({ targets, pinned: ["service/web"], recent: ["deployment/web", "service/web", "pod/gone"] }), [
    "heading:Pinned", "service/web", "heading:Recent", "deployment/web", "heading:Deployments", "deployment/api",
    "heading:Pods", "pod/lone", "pod/b", "heading:Without a Target", "targetless",
  ]);
});

test("targetless is a row of its own, and the configuration's target is offered", () => {
  assert.deepEqual(ids({ configured: "deployment/web" }), ["heading:Configuration", "configured", "heading:Without a Target", "targetless"]);
});

test("other namespaces and contexts are rows, so that typing finds them", () => {
  const found = ids({
    namespaces: [{ name: "default", current: true }, { name: "other", current: false }],
    contexts: [
      { name: "dev", namespace: "default", current: true, production: false },
      { name: "prod", namespace: "shop", current: false, production: true },
    ],
  });
  assert.deepEqual(found.slice(2), ["heading:Other Namespaces", "namespace:other", "heading:Other Contexts", "context:prod"]);
});

test("a row says readiness, image, containers, ports, age, and who is there", () => {
  const web = target("deployment/web", {
    ready: "1/2",
    containers: [{ name: "app", image: "example.org/shop/web:1.4" }, { name: "proxy", image: "envoy" }],
    created: 1_000,
    users: [{ who: "ann@laptop", mode: "steal" }],
  });
  const row = rows(offer({ targets: [web] }), (1_000 + 3 * 86_400) * 1_000).find(({ id }) => id === "deployment/web");
  assert.equal(row?.label, "$(layers) web");
  assert.equal(row.description, "deployment · 1/2 ready · web:1.4");
  assert.equal(row.detail, "containers app, proxy · port 80 http · 3 d old · ann@laptop steals here");
  assert.deepEqual(containerRows(web).map(({ id }) => id), ["container:app", "container:proxy"]);
});

test("what cannot be picked says why", () => {
  const row = rows(offer({ targets: [target("deployment/zero", { available: false, reason: "no pod is ready" })] }), 0)[1];
  assert.match(row?.detail ?? "", /^no pod is ready/);
  assert.equal(row?.label, "$(circle-slash) zero");
});

test("ten thousand pods are no work", () => {
  const targets = Array.from({ length: 10_000 }, (_, n) => target(`pod/p-${n}`, { owned: n % 2 === 0 }));
  const began = performance.now();
  assert.equal(rows(offer({ targets }), 0).length, 10_003);
  assert.ok(performance.now() - began < 500);
  const all = rows(offer({ targets }), 0);
  const found = narrowed(all, "P-4711 pod", 100);
  assert.deepEqual(found.rows.map(({ id }) => id), ["heading:Pods", "pod/p-4711", "heading:Without a Target", "targetless"]);
  assert.equal(narrowed(all, "p-4711", 20_000).omitted, 0);
});

test("only targets are too many: the ways to other places stay", () => {
  const targets = Array.from({ length: 300 }, (_, n) => target(`pod/p-${n}`));
  const namespaces = [{ name: "other", current: false }];
  const contexts = [{ name: "prod", namespace: "shop", current: false, production: true }];
  const all = rows(offer({ targets, namespaces, contexts }), 0);
  const { rows: left, omitted } = narrowed(all, "", 100);
  assert.equal(omitted, 200);
  assert.deepEqual(left.slice(101).map(({ id }) => id), [
    "heading:Without a Target", "targetless", "heading:Other Namespaces", "namespace:other", "heading:Other Contexts", "context:prod",
  ]);
  const none = narrowed(all, "nothing-like-it", 100).rows.map(({ id }) => id);
  assert.deepEqual(none.slice(0, 2), ["heading:Without a Target", "targetless"]);
});
