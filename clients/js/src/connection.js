// The Connection: `id`, `send`, `request`, `close`; it comes back by itself, with its subscriptions. What is published
// to addresses with history while it was away is recovered, where that was asked for.

import { Context, RequestContext, settle } from "./context.js";
import { mayPass, open, staysAway, waits, webSocketClass } from "./dialing.js";
import { ConnectionClosed, Request } from "./pending.js";
import { Subscriptions, positions } from "./subscriptions.js";
import { AccessToken, EXPIRED } from "./tokens.js";
import { Waiting } from "./waiting.js";
import { RECEIPTS, batches, checkClose, checkMessage, decode, encode, isKey, uuid, withId } from "./wire.js";

/** The close of this end when it cannot resume: to come back later, or not at all. */
const LATER = 4100;
const GIVEN_UP = 4000;

/** Messages of the server that have handlers of their own: what those get. */
const OWN = {
  __proto__: null,
  delivery: (frame) => {
    const { address, message, event = "message", epoch, offset } = frame;
    return { address, message, event, epoch, offset, positions: Object.fromEntries(positions(frame)) };
  },
  presence: (frame) => {
    const { address, count, joined = [], left = [], truncated = false } = frame;
    return { address, count, joined, left, truncated };
  },
  gap: (_, connection) => connection,
};

/** Connect to `ws://host/connection`. Rejects with ConnectionClosed, or RequestError for a wrong key. */
export function connect(url, options = {}, callback = undefined) {
  if (typeof options === "function") [options, callback] = [{}, options];
  return settle(callback, async () => {
    if (options.key && options.token) throw new TypeError("a key or a token, not both");
    const connection = new Connection(await webSocketClass(options.WebSocket), url, options);
    await connection._start();
    return connection;
  });
}

export class Connection {
  constructor(WebSocket, url, options) {
    /** A version 4 uuid of this end; the server's own id for it is in the answer to `whoami`. */
    this.id = uuid();
    this._token = new AccessToken(options.token);
    this._dial = async () => open(WebSocket, await this._token.addedTo(url), options, (socket) => this._use(socket));
    this._reconnect = options.reconnect ?? true;
    this._apiKey = options.key ?? "";
    this._socket = null;
    this._waiting = new Waiting((frame) => this._sendAgain(frame));
    this._subscriptions = new Subscriptions();
    this._ready = false; // true while the socket has the rights and the subscriptions
    this._handlers = new Map();
    this._wait = null;
    this._pauses = null;
    this._over = false;
    /** Resolves with a ConnectionClosed when the connection has ended for good. */
    this.closed = new Promise((resolve) => (this._ended = resolve));
  }

  // --- the four members ---

  /** Send a message; done when the server has it, or where it gives no receipts when it is sent. */
  send(message, options, callback) {
    if (typeof options === "function") [options, callback] = [{}, options];
    return settle(callback, async () => {
      checkMessage(message);
      if (!this.receipts) return this._write(encode(message, {}, options));
      const key = this._key(message);
      await this._ask(key, encode(message, { key, receipt: true }, options), options);
    });
  }

  /** Send a request. The callback gets `(err)`, `(null, reply)` or `(null, null, partial)`. */
  request(message, options, callback) {
    if (typeof options === "function") [options, callback] = [{}, options];
    const request = this._request(message, options);
    if (typeof callback === "function") {
      request.onPartial((partial) => callback(null, null, partial));
      request.then((reply) => callback(null, reply), callback);
    }
    return request;
  }

  /** Leave, for good. */
  close(code = 1000, reason = "", callback = undefined) {
    return settle(callback, async () => {
      checkClose(code, reason);
      this._reconnect = false;
      clearTimeout(this._wait);
      if (this._socket) this._socket.close(code, reason);
      else this._end(new ConnectionClosed(code, reason));
      await this.closed;
    });
  }

  // --- the other protocols ---

  /**
   * Publish to addresses of any protocol. The `id`, of 1 to 64 printable characters, is one of its own where none is
   * given. While the connection comes back a publish waits, and it is sent again, for 240 s at most: it arrives once.
   */
  publish(addresses, message, { id, timeout } = {}) {
    return this._askOnce(withId({ type: "publish", addresses, message, id }), timeout);
  }

  /**
   * Publish several messages, `{ addresses, message, id }` each, in order; as `publish`, once. The reply has `results`:
   * one for each in order, as `publish` answers, or `{ error }`.
   */
  async publishBatch(messages, { timeout } = {}) {
    const all = batches(messages.map(withId));
    const asked = all.map((some) => this._askOnce({ type: "publish_batch", messages: some }, timeout));
    const replies = await Promise.all(asked);
    return new Context(this, { results: replies.flatMap(({ message }) => message.results) });
  }

  /** Messages that are kept of an address, as `GET /api/history`: the newest, or those after `since`. */
  history(address, { since, limit, reverse } = {}) {
    return this.request({ type: "history", address, since, limit, reverse });
  }

  /**
   * Subscribe to addresses, also after a reconnect; options come last.
   *
   * With `recover` what was missed comes first after a reconnect: the event `recovered` tells that it does, the event
   * `gap` that it cannot. `last`: so many messages that are kept of each address come at once. `notices`: the event
   * `presence` tells who comes and goes.
   */
  async subscribe(...addresses) {
    const options = typeof addresses.at(-1) === "string" ? {} : (addresses.pop() ?? {});
    await this._subscribe(new Map(addresses.map((address) => [address, options])));
  }

  async _subscribe(wanted, again = false) {
    const asked = this._subscriptions.requests(wanted, again);
    await Promise.all(
      asked.map((request) =>
        this._request(request, undefined, (reply) => this._subscribed(request, wanted, again, reply)),
      ),
    );
  }

  /** Called before anything that comes after the reply is read: what was missed begins there. */
  _subscribed(request, wanted, again, reply) {
    for (const { address, position } of this._subscriptions.take(request, wanted, again, reply)) {
      if (position) this._call("recovered", { address, position });
      else this._call("gap", { address });
    }
  }

  /** Unsubscribe from addresses. */
  async unsubscribe(...addresses) {
    const remove = (some) => this._subscriptions.remove(some);
    remove(addresses);
    // Once more at the reply: a `subscribe` that was under way may have been answered meanwhile.
    const ask = (some) => this._request({ type: "unsubscribe", addresses: some }, undefined, () => remove(some));
    await Promise.all(batches(addresses).map(ask));
  }

  /** Take the rights of an API key, also after a reconnect. */
  async authenticate(key) {
    const reply = await this.request({ type: "authenticate", api_key: key });
    this._apiKey = key;
    return reply;
  }

  // --- handlers and state ---

  /** Register the one handler of an event, or of an event and type: `on("request", "greet", handler)`. */
  on(event, type, handler) {
    if (handler === undefined) [type, handler] = ["", type];
    if (typeof handler !== "function") throw new TypeError("a handler is a function");
    this._handlers.set(`${event}/${type}`, handler);
    return this;
  }

  /** Does the other end tell of messages that they have come? */
  get receipts() {
    return this._socket?.protocol === RECEIPTS;
  }

  get isOpen() {
    return this._socket !== null;
  }

  // --- requests ---

  _request(message, options, replied) {
    return orFailed(() => {
      const key = this._key(message);
      return this._ask(key, encode(message, { key, direction: "REQUEST" }, options), options, replied);
    });
  }

  _ask(key, frame, options, replied) {
    const request = this._waiting.add(String(key), options?.timeout, replied);
    try {
      this._write(frame);
    } catch (error) {
      request.fail(error);
    }
    return request;
  }

  /** Ask for what arrives once, however often it is sent; behind what is to be sent again. */
  _askOnce(message, timeout) {
    return orFailed(() => {
      const key = uuid();
      const frame = encode(message, { key, direction: "REQUEST" });
      const keeps = this._reconnect && !this._over && this._waiting.hasRoom;
      const request = keeps ? this._waiting.keep(key, frame, timeout) : this._waiting.add(key, timeout);
      if (this._sendAgain(frame)) this._waiting.sent(key);
      else if (!keeps) request.fail(new ConnectionClosed(1006, "not connected"));
      return request;
    });
  }

  /** Send what arrives once; false where `_resume` is going to. */
  _sendAgain(frame) {
    if (!this._ready || this._socket?.readyState !== 1) return false;
    this._write(frame);
    return true;
  }

  _key(message) {
    const key = message.key || uuid();
    if (!isKey(key) || this._waiting.has(String(key))) {
      throw new TypeError("a key must be a string or a number, and not that of another request");
    }
    return key;
  }

  _write(frame) {
    if (!this._socket || this._socket.readyState !== 1) throw new ConnectionClosed(1006, "not connected");
    this._socket.send(frame);
  }

  // --- the life of a connection ---

  async _start() {
    const pauses = waits(LATER);
    while (!(await this._begin())) await new Promise((resolve) => setTimeout(resolve, this._later + pauses.next().value));
  }

  /** Open the first socket; false when the server asks to come back, `_later` milliseconds from now at least. */
  async _begin() {
    let dialled = false;
    try {
      await this._dial();
      dialled = true;
      await this._resume();
      return true;
    } catch (error) {
      if (!this._reconnect || !(mayPass(error.code) || error.later !== undefined)) {
        if (dialled) await this.close();
        throw error;
      }
      this._later = error.later ?? 0;
      this._drop();
      return false;
    }
  }

  /** Close a socket that nobody has seen. */
  _drop() {
    this._token.stop();
    if (!this._socket) return;
    this._socket.onclose = this._socket.onmessage = null;
    this._socket.close(LATER);
    this._socket = null;
  }

  _use(socket) {
    this._socket = socket;
    socket.onmessage = ({ data }) => this._take(data);
    socket.onclose = ({ code, reason }) => this._lost(new ConnectionClosed(code || 1006, reason));
  }

  _lost(closed) {
    this._socket = null;
    this._ready = false;
    this._token.stop();
    this._waiting.fail(closed, { butKept: true });
    const isRenewed = closed.code === EXPIRED && this._token.renews;
    if (!this._reconnect || (staysAway(closed.code) && !isRenewed)) this._end(closed);
    else this._comeBack(closed.code);
  }

  _comeBack(code, later = 0) {
    this._pauses ??= waits(code);
    this._wait = setTimeout(async () => {
      try {
        await this._dial();
      } catch (error) {
        if (!(error instanceof ConnectionClosed)) this._call("error", error); // no token could be had
        if (this._reconnect) this._comeBack(code, error.later);
        return;
      }
      if (this._reconnect) this._resumeAgain();
      else this._socket?.close(1000);
    }, later + this._pauses.next().value);
  }

  async _resumeAgain() {
    try {
      await this._resume();
    } catch (error) {
      if (error instanceof ConnectionClosed) return; // on to the next attempt
      this._call("error", error);
      this._socket?.close(mayPass(error.code) ? LATER : GIVEN_UP, "could not subscribe again");
      return;
    }
    this._pauses = null;
    this._call("reconnect", this);
  }

  /** Take the rights, subscribe again, and publish what has no answer. */
  async _resume() {
    const socket = this._socket;
    if (this._apiKey) await this.request({ type: "authenticate", api_key: this._apiKey });
    await this._subscribe(this._subscriptions.options, true);
    if (this._socket !== socket) throw new ConnectionClosed(1006, "not connected");
    this._ready = true;
    this._waiting.again().forEach((frame) => this._write(frame));
    this._token.keepFresh(
      (message) => this.request(message),
      (error) => this._call("error", error),
    );
  }

  _end(closed) {
    if (this._over) return; // closed while it was coming back
    this._over = true;
    this._waiting.fail(closed, { butKept: false });
    this._ended(closed);
    this._call("close", closed.code, closed.reason, this);
  }

  // --- frames ---

  _take(data) {
    let frame;
    try {
      frame = decode(data);
    } catch (error) {
      this._call("error", error);
      return;
    }
    const { direction, message } = frame;
    if (direction === "MESSAGE") this._takeMessage(message);
    else if (direction === "REQUEST") this._takeRequest(message);
    else this._waiting.take(direction, message, this);
  }

  _takeMessage(message) {
    if (this.receipts && this._socket.readyState === 1 && message.receipt === true && "key" in message) {
      this._write(encode({}, { key: message.key, direction: "REPLY", receipt: true }));
    }
    if (message.type === "delivery" && !this._subscriptions.isNew(message)) return;
    if (this._handlers.has(`${message.type}/`) && message.type in OWN) {
      this._call(message.type, OWN[message.type](message, this));
    } else {
      const handler = this._find("message", message.type);
      if (handler) this._run(() => handler(new Context(this, message)));
    }
    if (message.type === "gap") {
      // It may be one of these.
      this._subscriptions.recovering.forEach((address) => this._call("gap", { address }));
    }
  }

  async _takeRequest(message) {
    const context = new RequestContext(this, message);
    const handler = this._find("request", message.type);
    if (!handler) return this._fail(context, "unhandled", "no handler takes this type of request");
    if (await this._run(() => handler(context))) return this._fail(context, "unanswered", "the handler gave no answer");
    return this._fail(context, "internal", "Internal error");
  }

  /** Run a handler; false when it failed. */
  async _run(handler) {
    try {
      await handler();
      return true;
    } catch (error) {
      this._call("error", error);
      return false;
    }
  }

  _fail(context, code, message) {
    if (!context.answered && this.isOpen) context.error({ code, message }).catch(() => {});
  }

  _find(event, type) {
    return (type && this._handlers.get(`${event}/${type}`)) || this._handlers.get(`${event}/`);
  }

  _call(event, ...args) {
    try {
      this._handlers.get(`${event}/`)?.(...args);
    } catch (error) {
      console.error(`switchboard: the handler of ${event} failed`, error);
    }
  }
}

/** The request that `ask` makes, or one that has failed with what it throws. */
function orFailed(ask) {
  try {
    return ask();
  } catch (error) {
    const request = new Request();
    request.fail(error);
    return request;
  }
}
