// The requests of a connection that wait for their answers, and the publishes among them that are kept.

import { Context } from "./context.js";
import { Request, RequestError } from "./pending.js";

/** Publishes that are kept, to be sent again after a reconnect. */
const MAX_KEPT = 1000;

/** They fail after that, in milliseconds: a server knows the id of a message for 300 s (IDEMPOTENCY_SECONDS). */
const KEPT_FOR = 240_000;

/** By the name of their key. A kept one stays while the connection is lost, and is sent again. */
export class Waiting {
  constructor() {
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
      this._kept.delete(name);
    });
    return request;
  }

  /** One that is kept, with its frame. */
  keep(name, frame, timeout) {
    this._kept.set(name, frame);
    return this.add(name, Math.min(timeout || KEPT_FOR, KEPT_FOR));
  }

  /** The frames of those that are kept, in the order in which they were asked first. */
  get kept() {
    return [...this._kept.values()];
  }

  /** Take an answer: PARTIAL, REPLY or ERROR. */
  take(direction, message, connection) {
    const one = this._all.get(String(message.key));
    if (!one) return; // late, or for nobody
    if (direction === "ERROR") {
      one.request.fail(new RequestError(message, connection));
      return;
    }
    if (direction === "REPLY") one.replied?.(message);
    one.request[direction.toLowerCase()](new Context(connection, message));
  }

  /** No answers will come; to those that are kept neither, unless they may be sent again. */
  fail(error, { butKept }) {
    for (const [name, { request }] of [...this._all]) if (!butKept || !this._kept.has(name)) request.fail(error);
  }
}
