// A backend that decides: it verifies the signature of each question, and answers hooks of every protocol.
//
//   node backend.js        prints "listening on <port>"
//
// Only Node's own modules. The path of a hook's URL says how it behaves:
//   /rules    answers at once, by the rules below
//   /held     the same, but not before /test/release
//   /broken   answers 500
// Paths below /test/ are for the tests: /test/trust, /test/hold, /test/release, /test/asked, /test/forget.

"use strict";

const { createHmac, timingSafeEqual } = require("node:crypto");
const { createServer } = require("node:http");

const TOLERANCE_SECONDS = 300;
const secrets = new Set();
let asked = [];
let held = [];

// --- the signature, by the Standard Webhooks specification ------------------------------------------------

function isSigned(headers, body) {
  const id = headers["webhook-id"];
  const timestamp = headers["webhook-timestamp"];
  if (!id || Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_SECONDS) return false;
  const presented = (headers["webhook-signature"] || "").split(" ").map((one) => one.replace(/^v1,/, ""));
  for (const secret of secrets) {
    const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
    const wanted = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
    for (const one of presented) {
      const given = Buffer.from(one, "base64");
      if (given.length === wanted.length && timingSafeEqual(given, wanted)) return true;
    }
  }
  return false;
}

// --- the rules -------------------------------------------------------------------------------------------

function decide(question) {
  return { connect, subscribe, publish, request }[question.on](question);
}

function connect({ query }) {
  const fields = new URLSearchParams(query);
  if (!fields.has("user")) return { allow: true };
  return {
    allow: fields.get("user") !== "mallory",
    reason: "mallory stays outside",
    identity: fields.get("user"),
    name: fields.get("name"),
    subscribe: fields.getAll("also"),
  };
}

function subscribe({ address, identity }) {
  if (address.includes("members")) return { allow: identity === "ada", reason: "members only" };
  return { allow: !address.includes("private"), reason: "that is private" };
}

function publish({ address, message }) {
  const text = JSON.stringify(message);
  if (text.includes("rude") || address.includes("quiet")) return { allow: false, reason: "not that here" };
  if (text.includes("loud")) return { allow: true, message: shout(message) };
  if (text.includes("own copy")) return { allow: true, message: withCopy(message, address) };
  return { allow: true };
}

function request({ address, message, identity, connection }) {
  if (address === "hook_add") return { reply: message.a + message.b };
  if (address === "hook_count") {
    return { partials: Array.from({ length: message.n }, (_, index) => index + 1), reply: "done" };
  }
  if (address === "hook_fail") return { error: "the cat sat on it" };
  if (address === "hook_deny") return { allow: false, reason: "not for you" };
  if (address === "hook_whoami") return { reply: { identity, connection } };
  if (address === "hook_pass") return { allow: true };
  return { allow: !JSON.stringify(message).includes("banned"), reason: "that is banned" };
}

function shout(value) {
  if (typeof value === "string") return value.toUpperCase();
  if (Array.isArray(value)) return value.map(shout);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, shout(one)]));
}

function withCopy(message, address) {
  return typeof message === "string" ? `${message} of ${address}` : { ...message, copy: address };
}

// --- the server ------------------------------------------------------------------------------------------

function answer(response, status, value) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

function release() {
  const waiting = held;
  held = [];
  for (const go of waiting) go();
}

function forTests(path, body, response) {
  if (path === "/test/trust") secrets.add(JSON.parse(body));
  if (path === "/test/release") release();
  if (path === "/test/asked") return answer(response, 200, { asked, held: held.length });
  if (path === "/test/forget") asked = [];
  answer(response, 200, null);
}

function forHooks(path, headers, body, response) {
  if (!isSigned(headers, body)) return answer(response, 401, { error: "the signature is wrong" });
  const question = JSON.parse(body);
  asked.push(question);
  if (path === "/broken") return answer(response, 500, { error: "out of order" });
  const go = () => answer(response, 200, decide(question));
  if (path === "/held") held.push(go);
  else go();
}

const server = createServer((incoming, response) => {
  const parts = [];
  incoming.on("data", (part) => parts.push(part));
  incoming.on("end", () => {
    const body = Buffer.concat(parts);
    if (incoming.url.startsWith("/test/")) forTests(incoming.url, body.toString(), response);
    else forHooks(incoming.url, incoming.headers, body, response);
  });
});

server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
