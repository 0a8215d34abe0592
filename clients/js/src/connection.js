// The Connection: `id`, `send`, `request`, `close`; it comes back by itself, with its subscriptions.

import { Context, RequestContext, settle } from "./context.js";
import { open, staysAway, waits, webSocketClass } from "./dialing.js";
import { ConnectionClosed, Request, RequestError } from "./pending.js";
import { RECEIPTS, batches, checkClose, checkMessage, decode, encode, isKey, uuid } from "./wire.js";

/** Codes of errors that may be gone at the next attempt. */
const PASSING = new Set(["unavailable", "internal"]);

/** The close of this end when it cannot resume: to come back later, or not at all. */
const LATER = 4100;
const GIVEN_UP = 4000;

/** Connect to `ws://host/connection`. Rejects with ConnectionClosed, or RequestError for a wrong key. */
export function connect(url, options = {}, callback = undefined) {
  if (typeof options === "function") [options, callback] = [{}, options];
  return settle(callback, async () => {
    const connection = new Connection(await webSocketClass(options.WebSocket), url, options);
    await connection._start();
    return connection;
  });
}

export class Connection {
  constructor(WebSocket, url, options) {
    /** A version 4 uuid of this end; the server's own id for it is in the answer to `whoami`. */
    this.id = uuid();
    this._dial = () => open(WebSocket, url, options, (socket) => this._use(socket));
    this._reconnect = options.reconnect ?? true;
    this._apiKey = options.key ?? "";
    this._socket = null;
    this._pending = new Map();
    this._addresses = new Set();
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

  /** Publish to addresses of any protocol. */
  publish(addresses, message) {
    return this.request({ type: "publish", addresses, message });
  }

  /** Subscribe to addresses, also after a reconnect. */
  async subscribe(...addresses) {
    await this._askOf("subscribe", addresses);
    addresses.forEach((address) => this._addresses.add(address));
  }

  /** Unsubscribe from addresses. */
  async unsubscribe(...addresses) {
    addresses.forEach((address) => this._addresses.delete(address));
    await this._askOf("unsubscribe", addresses);
  }

  /** Take the rights of an API key, also after a reconnect. */
  async authenticate(key) {
    const reply = await this.request({ type: "authenticate", api_key: key });
    this._apiKey = key;
    return reply;
  }

  /** Ask in as many requests as it takes for each to be within the server's bounds. */
  async _askOf(type, addresses) {
    await Promise.all(batches(addresses).map((some) => this.request({ type, addresses: some })));
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

  _request(message, options) {
    try {
      const key = this._key(message);
      return this._ask(key, encode(message, { key, direction: "REQUEST" }, options), options);
    } catch (error) {
      const request = new Request();
      request.fail(error);
      return request;
    }
  }

  _ask(key, frame, options) {
    const request = new Request(options?.timeout);
    const name = String(key);
    this._pending.set(name, request);
    request.onEnd(() => this._pending.delete(name));
    try {
      this._write(frame);
    } catch (error) {
      request.fail(error);
    }
    return request;
  }

  _key(message) {
    const key = message.key || uuid();
    if (!isKey(key) || this._pending.has(String(key))) {
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
      if (!this._reconnect || !(PASSING.has(error.code) || error.later !== undefined)) {
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
    for (const request of [...this._pending.values()]) request.fail(closed);
    if (!this._reconnect || staysAway(closed.code)) this._end(closed);
    else this._comeBack(closed.code);
  }

  _comeBack(code, later = 0) {
    this._pauses ??= waits(code);
    this._wait = setTimeout(async () => {
      try {
        await this._dial();
      } catch (error) {
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
      this._socket?.close(PASSING.has(error.code) ? LATER : GIVEN_UP, "could not subscribe again");
      return;
    }
    this._pauses = null;
    this._call("reconnect", this);
  }

  /** Take the rights, and subscribe to the addresses of before. */
  async _resume() {
    if (this._apiKey) await this.request({ type: "authenticate", api_key: this._apiKey });
    await this._askOf("subscribe", [...this._addresses]);
  }

  _end(closed) {
    if (this._over) return; // closed while it was coming back
    this._over = true;
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
    else this._takeAnswer(direction, message);
  }

  _takeAnswer(direction, message) {
    const request = this._pending.get(String(message.key));
    if (!request) return; // late, or for nobody
    if (direction === "ERROR") request.fail(new RequestError(message, this));
    else request[direction.toLowerCase()](new Context(this, message));
  }

  _takeMessage(message) {
    if (this.receipts && this._socket.readyState === 1 && message.receipt === true && "key" in message) {
      this._write(encode({}, { key: message.key, direction: "REPLY", receipt: true }));
    }
    if (message.type === "delivery" && this._handlers.has("delivery/")) {
      const { address, event = "message" } = message;
      this._call("delivery", { address, message: message.message, event });
    } else if (message.type === "gap" && this._handlers.has("gap/")) {
      this._call("gap", this);
    } else {
      const handler = this._find("message", message.type);
      if (handler) this._run(() => handler(new Context(this, message)));
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

