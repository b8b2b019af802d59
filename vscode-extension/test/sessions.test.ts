import assert from "node:assert/strict";
import { test } from "node:test";

import type { RequestSeen, SessionInfo } from "../src/rpc";
import { Sessions } from "../src/sessions";

function session(name: string, fields: Partial<SessionInfo> = {}): SessionInfo {
  return {
    session: name, version: "0.1.0", origin: "editor", state: "active", started: 1, name: "web", context: "dev", server: "s", namespace: "default",
    target: "deployment/web", traffic: "mirror", filtered: false, processes: [], ports: [], grace: 60, ...fields,
  };
}

/** The sessions of a window with the folder /p. */
const window = (maxRequests: number): Sessions => new Sessions(() => maxRequests, () => ["/p"]);

const request = (id: number, fields: Partial<RequestSeen> = {}): RequestSeen => ({ id, at: id, port: 80, client: "10.0.0.1", outcome: "local", ...fields });

test("a session follows its notifications until it is over", () => {
  const sessions = window(10);
  let told = 0;
  sessions.onDidChange(() => (told += 1));
  sessions.add(session("a"));
  sessions.ports({ session: "a", ports: [{ port: 80, local: 8080, mode: "steal", filtered: false }] });
  sessions.processes({ session: "a", processes: [{ pid: 7, argv: ["node"], skipped: false, since: 1 }] });
  sessions.processes({ session: "unknown", processes: [] });
  assert.equal(sessions.state({ session: "a", state: "degraded", cause: "no port" })?.info.state, "active");
  const info = sessions.get("a")?.info;
  assert.deepEqual([info?.state, info?.cause, info?.ports.length, info?.processes.length], ["degraded", "no port", 1, 1]);
  sessions.state({ session: "a", state: "ended", cause: "stopped" });
  assert.deepEqual([sessions.all(), told], [[], 5]);
});

test("the newest requests are kept, an answer replaces its request", () => {
  const sessions = window(2);
  sessions.add(session("a"));
  sessions.requests({ session: "a", requests: [request(1), request(2)], omitted: 0 });
  sessions.requests({ session: "a", requests: [request(3), request(2, { status: 200 })], omitted: 4 });
  const known = sessions.get("a");
  assert.deepEqual(known?.requests.map(({ id, status }) => [id, status]), [[3, undefined], [2, 200]]);
  assert.equal(known.omitted, 5);
  sessions.add(session("a", { state: "lost" }));
  assert.equal(sessions.get("a")?.requests.length, 2);
});

test("the list of the helper is the truth", () => {
  const sessions = window(2);
  sessions.add(session("a"));
  sessions.replace([session("b"), session("c", { state: "ended" })]);
  assert.deepEqual(sessions.all().map(({ info }) => info.session), ["b"]);
});

test("the session that needs the user most is foremost, those of the folder first", () => {
  const sessions = window(2);
  assert.equal(sessions.foremost("/p"), undefined);
  sessions.begin(session("other", { folder: "/q", state: "lost" }));
  assert.equal(sessions.foremost("/p")?.info.session, "other");
  sessions.add(session("own", { folder: "/p" }));
  sessions.add(session("ill", { folder: "/p", state: "degraded" }));
  assert.equal(sessions.foremost("/p")?.info.session, "ill");
});

test("sessions of other windows are listed, and none of this window's business", () => {
  const sessions = window(2);
  sessions.add(session("other", { folder: "/q", state: "lost" }));
  sessions.add(session("nowhere"));
  assert.deepEqual(sessions.all().map(({ info }) => sessions.isOwn(info)), [false, false]);
  assert.equal(sessions.foremost("/p"), undefined);
  assert.deepEqual(["/p", "/p/sub", "/pq"].map((folder) => sessions.isOwn(session("one", { folder }))), [true, true, false]);
  sessions.begin(session("begun", { folder: "/q" }));
  assert.equal(sessions.foremost("/p")?.info.session, "begun");
});

test("what is heard of a session for the first time was begun elsewhere", () => {
  const sessions = window(2);
  assert.deepEqual([sessions.isNew("a"), sessions.isNew("a")], [true, false]);
  sessions.add(session("b"));
  sessions.state({ session: "b", state: "ended", cause: "stopped" });
  assert.equal(sessions.isNew("b"), false);
});

test("a session that the user ends is gone at once, and no news; if it cannot be ended it is listed again", () => {
  const sessions = window(2);
  sessions.add(session("a"));
  sessions.leave("a");
  sessions.replace([session("a")]);
  assert.deepEqual(sessions.all(), []);
  sessions.stay("a");
  sessions.replace([session("a")]);
  assert.equal(sessions.all().length, 1);
  sessions.leave("a");
  assert.equal(sessions.state({ session: "a", state: "ended", cause: "stopped" }), undefined);
});
