// Opening a socket, and opening it again: when, how often, and when not.

import { PLAIN, RECEIPTS } from "./wire.js";
import { ConnectionClosed } from "./pending.js";

const LONGEST_WAIT = 30_000;
const LONGEST_ASKED = 3600;
/** Milliseconds that an attempt may take. */
const LONGEST_ATTEMPT = 20_000;
const BY_RFC = new Set([1000, 1002, 1003, 1007, 1008, 1009, 1010]);

/** Codes of errors that may be gone at the next attempt. */
const PASSING = new Set(["unavailable", "internal", "rate"]);
const PASSING_STATUSES = new Set([429, 503]);

/** Has the server said no, so that another attempt would end the same way? */
export function staysAway(code) {
  return BY_RFC.has(code) || (code >= 4000 && code < 4100) || (code >= 4300 && code < 5000);
}

/** May an ERROR with this code be gone at the next attempt? */
export function mayPass(code) {
  return PASSING.has(code);
}

/** Does the server ask to come back now? */
export function comesBackAtOnce(code) {
  return code === 1012 || (code >= 4200 && code < 4300);
}

/** Milliseconds to wait before each attempt, without end: doubled each time, and jittered to spread crowds. */
export function* waits(code) {
  let longest = comesBackAtOnce(code) ? 200 : 1000;
  for (;;) {
    yield Math.random() * longest;
    longest = Math.min(LONGEST_WAIT, longest * 2);
  }
}

/** The WebSocket to use: the given one, the platform's, or the package `ws` on an older Node. */
export async function webSocketClass(given) {
  if (given) return given;
  if (globalThis.WebSocket) return globalThis.WebSocket;
  const name = "ws"; // a variable, so that bundlers leave it alone
  try {
    return (await import(/* @vite-ignore */ /* webpackIgnore: true */ name)).WebSocket;
  } catch {
    throw new Error("no WebSocket here: pass the option `WebSocket`, or install the package `ws`");
  }
}

/** Milliseconds that a `Retry-After` asks for, an hour at most; 0 for none, or for a date. */
export function asked(retryAfter) {
  return /^\d+$/.test(retryAfter ?? "") ? Math.min(Number(retryAfter), LONGEST_ASKED) * 1000 : 0;
}

/**
 * Give an open socket to `use`, before anything is read from it. Rejects with ConnectionClosed; with its `later`, in
 * milliseconds, where the server says 503 or 429 and the platform shows it: the package `ws` does, browsers do not.
 */
export function open(WebSocket, url, { receipts = true, protocols = [] }, use) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, receipts ? [PLAIN, RECEIPTS, ...protocols] : protocols);
    socket.binaryType = "arraybuffer";
    let later;
    socket.on?.("unexpected-response", (_, { statusCode, headers }) => {
      if (PASSING_STATUSES.has(statusCode)) later = asked(headers["retry-after"]);
      socket.terminate?.();
    });
    const failed = (code, reason) => {
      clearTimeout(timer);
      reject(Object.assign(new ConnectionClosed(code, reason), { later }));
    };
    const timer = setTimeout(() => {
      socket.onopen = null;
      failed(1006, "no answer");
      if (socket.terminate) socket.terminate();
      else socket.close();
    }, LONGEST_ATTEMPT);
    socket.onopen = () => {
      clearTimeout(timer);
      resolve(use(socket));
    };
    // The WebSocket of Node 22 tells of an attempt that failed by an error alone; no close follows.
    socket.onerror = () => failed(1006, "");
    socket.onclose = ({ code, reason }) => failed(code || 1006, reason);
  });
}
