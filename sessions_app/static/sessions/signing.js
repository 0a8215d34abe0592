// A publisher to try sessions with: made by REST with the session of staff, and tokens of its customers,
// signed here with a secret that only this page and the server know.

import { call } from "../console/js/try/server.js";

const ALGORITHM = { name: "HMAC", hash: "SHA-256" };
const base64url = (bytes) =>
  btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
const encoded = (value) => base64url(new TextEncoder().encode(JSON.stringify(value)));

// What the server did not do; the message is for the user.
export class NotMade extends Error {}

// Browsers sign on pages of HTTPS and of localhost alone.
export const maySign = () => globalThis.crypto?.subtle !== undefined;

// Make the publisher where it is not there, with one session per offer, and a key for the tokens of this
// page, in place of the one of an earlier visit. Returns `sign(customer)`, which resolves to a token of eight
// hours.
export async function demoPublisher(name, kid) {
  const path = `/api/publishers/${encodeURIComponent(name)}`;
  const known = await asked({ path: "/api/publishers/" });
  if (!known.results.some((one) => one.name === name)) {
    const made = await call({ method: "POST", path: "/api/publishers/", body: { name } });
    // 400: it is there, on a later page of the list.
    if (![201, 400].includes(made.status)) throw refusal(made);
  }
  await limit(`${path}/limits/`);
  const secret = base64url(crypto.getRandomValues(new Uint8Array(32)));
  await replaceKey(`${path}/keys/`, kid, secret);
  const bytes = new TextEncoder().encode(secret);
  const key = await crypto.subtle.importKey("raw", bytes, ALGORITHM, false, ["sign"]);
  return (customer) => sign(key, kid, { customerId: customer, publisherId: name });
}

async function limit(path) {
  const limits = await asked({ path });
  if (limits.results.length) return;
  await asked({ method: "POST", path, body: { scope: "offer", maximum: 1, policy: "ask" } });
}

async function replaceKey(path, kid, secret) {
  const keys = await asked({ path });
  for (const key of keys.results.filter((one) => one.kid === kid)) {
    await asked({ method: "DELETE", path: `${path}${key.id}/` });
  }
  await asked({ method: "POST", path, body: { kid, algorithm: "HS256", secret } });
}

async function asked(request) {
  const answer = await call(request);
  if (answer.status < 200 || answer.status > 299) throw refusal(answer);
  return answer.json;
}

function refusal({ status, text, json }) {
  return new NotMade(`The server answered ${status}: ${json?.detail ?? text}`);
}

async function sign(key, kid, claims) {
  const exp = Math.floor(Date.now() / 1000) + 8 * 3600;
  const said = `${encoded({ alg: "HS256", typ: "JWT", kid })}.${encoded({ ...claims, exp })}`;
  const signature = await crypto.subtle.sign(ALGORITHM.name, key, new TextEncoder().encode(said));
  return `${said}.${base64url(new Uint8Array(signature))}`;
}
