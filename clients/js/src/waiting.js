// The requests of a connection that wait for their answers, and the publishes among them that are kept.

import { Context } from "./context.js";
import { mayPass, waits } from "./dialing.js";
import { Request, RequestError } from "./pending.js";

/** Publishes that are kept, to be sent again after a reconnect. */
const MAX_KEPT = 1000;

const LATER = 4100;

/** They fail after that, in milliseconds: a server knows the id of a message for 300 s (IDEMPOTENCY_SECONDS). */
const KEPT_FOR = 240_000;

/**
 * By the name of their key. A kept one stays while the connection is lost, and is sent again. `send` sends a frame
 * once more, or does nothing while the connection is lost.
 */
export class Waiting {
  constructor(send) {
    this._send = send;
    this._all = new Map();
    this._kept = new Map();
  }

  has(name) {
    return this._all.has(name);
  }

  /** May another one be kept? */
  get hasRoom() {
    return this._kept.size < MAX_KEPT;
  }

  /** A request that waits from now on; `replied` takes the reply before anything that comes after it is read. */
  add(name, timeout, replied) {
    const request = new Request(timeout);
    this._all.set(name, { request, replied });
    request.onEnd(() => {
      this._all.delete(name);
      clearTimeout(this._kept.get(name)?.timer);
      this._kept.delete(name);
    });
    return request;
  }

  /** One that is kept, with its frame. */
  keep(name, frame, timeout) {
    this._kept.set(name, { frame, isSent: false, pauses: null, timer: null });
    return this.add(name, Math.min(timeout || KEPT_FOR, KEPT_FOR));
  }

  /** A request was sent at once. */
  sent(name) {
    const one = this._kept.get(name);
    if (one) one.isSent = true;
  }

  /** The frames of those that are kept, to be sent now, in the order in which they were asked first. */
  again() {
    return [...this._kept.values()].map((one) => {
      clearTimeout(one.timer);
      // Sent more than once: an answer tells nothing of the copies before.
      if (one.isSent) one.pauses ??= waits(LATER);
      one.isSent = true;
      return one.frame;
    });
  }

  /** Take an answer: PARTIAL, REPLY or ERROR. */
  take(direction, message, connection) {
    const one = this._all.get(String(message.key));
    if (!one) return; // late, or for nobody
    if (direction === "ERROR") {
      if (this._isSentLater(String(message.key), message.code)) return;
      one.request.fail(new RequestError(message, connection));
      return;
    }
    if (direction === "REPLY") one.replied?.(message);
    one.request[direction.toLowerCase()](new Context(connection, message));
  }

  /** Is this a failure that passes of one whose copies before may have been published? */
  _isSentLater(name, code) {
    const one = this._kept.get(name);
    if (!one?.pauses || !mayPass(code)) return false;
    clearTimeout(one.timer);
    one.timer = setTimeout(() => this._send(one.frame), one.pauses.next().value);
    return true;
  }

  /** No answers will come; to those that are kept neither, unless they may be sent again. */
  fail(error, { butKept }) {
    for (const [name, { request }] of [...this._all]) if (!butKept || !this._kept.has(name)) request.fail(error);
  }
}
