// Beyond the shared table: callbacks, partials, order, reconnects. Run with URL, KEY and OTHER_URL.
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, ConnectionClosed, RequestError, Unanswered } from "switchboard-client";
import { comesBackAtOnce, staysAway, waits } from "../src/dialing.js";
import { MAX_PARTIALS, Request } from "../src/pending.js";

const { URL: url, KEY: key } = process.env;
const open = (options) => connect(url, { key, ...options });

test("the id is a version 4 uuid", async () => {
  const connection = await open();
  assert.match(connection.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(connection.receipts, true);
  await connection.close();
});

test("callbacks as in the original", async () => {
  const connection = await new Promise((resolve, reject) =>
    connect(url, (error, connection) => (error ? reject(error) : resolve(connection))),
  );
  const calls = [];
  await new Promise((resolve) =>
    connection.request({ type: "question" }, (error, reply, partial) => {
      calls.push([error, reply?.message.answer ?? reply, partial?.message.n]);
      if (error || reply) resolve();
    }),
  );
  assert.deepEqual(calls, [
    [null, null, 1],
    [null, null, 2],
    [null, "ok", undefined],
  ]);
  const error = await new Promise((resolve) => connection.request({ type: "fail" }, {}, resolve));
  assert.equal(error.message.message, "nope");
  assert.equal(await new Promise((resolve) => connection.send({ type: "note", text: "x" }, resolve)), null);
  assert.equal(await new Promise((resolve) => connection.close(1000, "", resolve)), null);
  assert.ok((await new Promise((resolve) => connection.send({}, resolve))) instanceof ConnectionClosed);
});

test("send is done when the server has the message", async () => {
  const connection = await open();
  const text = `note ${Math.random()}`;
  await connection.send({ type: "note", text });
  const { message } = await connection.request({ type: "log" });
  assert.ok(message.log.includes(text));
  await connection.close();
});

test("replies are for their requests, and several wait at once", async () => {
  const connection = await open();
  const replies = await Promise.all([...Array(500).keys()].map((n) => connection.request({ type: "echo", n })));
  assert.deepEqual(replies.map((reply) => reply.message.n), [...Array(500).keys()]);
  await connection.close();
});

test("a request is cancelled, and partials that nobody reads end it", async () => {
  const connection = await open();
  const cancelled = connection.request({ type: "late", seconds: 0.1 });
  cancelled.cancel();
  await assert.rejects(cancelled, Unanswered);
  const unread = connection.request({ type: "partials", count: 1500 });
  while (!unread.done) await new Promise((resolve) => setTimeout(resolve, 10));
  await assert.rejects(unread, RequestError);
  assert.equal((await connection.request({ type: "partials", count: 1500 })).message.done, true);
  const settled = await connection.request({ type: "partials", count: 1500 }).finally(() => {});
  assert.equal(settled.message.done, true);
  await connection.close();
});

test("partials that are left by an iteration do not fail a wait", async () => {
  const request = new Request();
  for (const n of [0, 1, 2]) request.partial({ n });
  for await (const { n } of request) {
    assert.equal(n, 0);
    break;
  }
  const waiting = request.then((reply) => reply);
  for (let n = 0; n < MAX_PARTIALS; n++) request.partial({ n });
  request.reply({ done: true });
  assert.deepEqual(await waiting, { done: true });
});

test("a wrong key and a wrong address are told", async () => {
  await assert.rejects(open({ key: "swk_wrong_key_that_nobody_has" }), RequestError);
  await assert.rejects(connect("ws://127.0.0.1:9/connection"), ConnectionClosed);
  const connection = await connect(url);
  await assert.rejects(connection.subscribe("token:x"), { code: "unauthenticated" });
  await connection.authenticate(key);
  await connection.subscribe("token:x");
  await connection.close();
});

test("without the subprotocol there are no receipts", async () => {
  const connection = await open({ receipts: false });
  assert.equal(connection.receipts, false);
  await connection.send({ type: "note", text: "x" });
  await connection.close();
});

test("after a close that asks to come back, it is back with its rights and its addresses", async () => {
  const connection = await open();
  await connection.subscribe("channel:a", "channel:b");
  await connection.unsubscribe("channel:b");
  const back = new Promise((resolve) => connection.on("reconnect", resolve));
  const waiting = connection.request({ type: "late", seconds: 30 });
  await connection.request({ type: "close me", code: 4200, reason: "come back" });
  await assert.rejects(waiting, { code: 4200, reason: "come back" });
  await back;
  assert.deepEqual((await connection.request({ type: "whoami" })).message.addresses, ["channel:a"]);
  const received = new Promise((resolve) => connection.on("delivery", resolve));
  await connection.publish(["channel:a"], "again");
  assert.equal((await received).message, "again");
  await connection.close();
});

test("after a close that says no, it stays away", async () => {
  const connection = await open();
  await connection.request({ type: "close me", code: 4003, reason: "out" });
  assert.equal((await connection.closed).code, 4003);
});

test("waits grow, are jittered and stay bounded", () => {
  const runs = [...Array(200)].map(() => {
    const wait = waits(1006);
    return [...Array(12)].map(() => wait.next().value);
  });
  assert.ok(new Set(runs.map((run) => run[0])).size > 100);
  for (const run of runs) run.forEach((wait, n) => assert.ok(wait <= Math.min(30_000, 1000 * 2 ** n)));
});

test("every close code of the server has its advice", () => {
  for (const { code, advice } of JSON.parse(process.env.CODES)) {
    assert.equal(staysAway(code), advice === "stay away", String(code));
    assert.equal(comesBackAtOnce(code), advice === "come back now", String(code));
  }
});
