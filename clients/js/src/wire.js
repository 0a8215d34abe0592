// Frames: one JSON object each, the fields `key`, `direction` and `type` beside the application's own.

/** Offered first, for servers that answer the first subprotocol whatever it means, as the original does. */
export const PLAIN = "wyre";

/** The subprotocol under which `send` is answered by the other end. */
export const RECEIPTS = "wyre.receipt";

const DIRECTIONS = new Set(["MESSAGE", "REQUEST", "REPLY", "PARTIAL", "ERROR"]);
const MAX_REASON_BYTES = 123;
/** Addresses or messages in one request at most: a server takes 1,000, and frames of 64 KiB. */
const BATCH = 500;
const BATCH_BYTES = 2 ** 15;
const text = new TextDecoder("utf-8", { fatal: true });
const bytes = new TextEncoder();

/** Direction in upper case, and the whole object. Throws for a string that is not a frame. */
export function decode(data) {
  const message = JSON.parse(typeof data === "string" ? data : text.decode(data));
  if (message === null || typeof message !== "object" || Array.isArray(message)) {
    throw new TypeError("a frame is an object");
  }
  const direction = message.direction || "MESSAGE";
  if (typeof direction !== "string" || !DIRECTIONS.has(direction.toUpperCase())) {
    throw new TypeError("no such direction");
  }
  return { direction: direction.toUpperCase(), message };
}

/** The data of a frame: a string, or with `binary` the same JSON as bytes. */
export function encode(message, control, options) {
  const json = JSON.stringify({ ...message, ...control });
  return options?.binary ? bytes.encode(json) : json;
}

/** A plain message has no direction. Throws a TypeError for one that brings its own. */
export function checkMessage(message) {
  if (message.direction) throw new TypeError("`direction` is the protocol's own field");
}

/** The control fields of an answer: the request's key, if it has one. */
export function answerTo(request, direction) {
  return { key: request.key, direction };
}

/**
 * Items for several requests, each within a server's bounds for a frame and for a list. `measure` tells the bytes
 * of one; a larger one than the bound goes alone.
 */
export function batches(items, measure = size) {
  const all = [];
  let total = 0;
  for (const item of items) {
    const length = measure(item);
    if (!all.length || total + length > BATCH_BYTES || all.at(-1).length === BATCH) {
      all.push([]);
      total = 0;
    }
    all.at(-1).push(item);
    total += length;
  }
  return all;
}

/** The bytes of a value in a frame. */
export function size(value) {
  return bytes.encode(JSON.stringify(value)).length;
}

/** A message to be published, with an id of its own where it has none. */
export function withId(publish) {
  return { ...publish, id: publish.id ?? uuid() };
}

/** A version 4 uuid; `crypto.randomUUID` is for secure pages only. */
export function uuid() {
  const b = globalThis.crypto
    ? globalThis.crypto.getRandomValues(new Uint8Array(16))
    : Uint8Array.from({ length: 16 }, () => Math.random() * 256);
  b[6] = (b[6] & 0x0f) | 0x40;
  b[8] = (b[8] & 0x3f) | 0x80;
  const hex = Array.from(b, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [8, 12, 16, 20, 32].map((end, i, ends) => hex.slice(i ? ends[i - 1] : 0, end)).join("-");
}

/** Is this a key by which an answer can be found? */
export function isKey(key) {
  return (typeof key === "string" && key !== "") || Number.isFinite(key);
}

/** Check a close of an application (RFC 6455, sections 5.5 and 7.4). Throws a RangeError. */
export function checkClose(code, reason) {
  if (code !== 1000 && !(Number.isInteger(code) && code >= 3000 && code <= 4999)) {
    throw new RangeError("a close code is 1000 or from 3000 to 4999");
  }
  if (bytes.encode(reason).length > MAX_REASON_BYTES) {
    throw new RangeError(`a close reason has at most ${MAX_REASON_BYTES} bytes`);
  }
}
