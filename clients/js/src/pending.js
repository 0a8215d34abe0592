// Requests that were sent, and their answers: awaited for the reply, iterated for the partials.

/** Partials kept for a caller that iterates; one more fails a request that nobody reads. */
export const MAX_PARTIALS = 1000;

/** The other end answered with ERROR; `message` is the object it sent, as in the original. */
export class RequestError extends Error {
  constructor(message, connection) {
    super();
    this.name = "RequestError";
    this.message = message;
    this.connection = connection;
  }

  get code() {
    return this.message.code;
  }

  toString() {
    return `RequestError: ${this.message.message ?? this.message.code ?? "the request failed"}`;
  }
}

/** The connection has ended, with this code and reason; no answer will come. */
export class ConnectionClosed extends Error {
  constructor(code, reason = "") {
    super(`connection closed: ${code} ${reason}`.trimEnd());
    this.name = "ConnectionClosed";
    this.code = code;
    this.reason = reason;
  }
}

/** No reply came in time, or the request was cancelled. */
export class Unanswered extends Error {
  constructor(text) {
    super(text);
    this.name = "Unanswered";
  }
}

/** One request on its way: a promise of the reply, and an async iterable of the partials. */
export class Request {
  constructor(timeout) {
    this.done = false;
    this._partials = [];
    this._keep = true;
    this._listener = null;
    this._wake = () => {};
    this._ends = [];
    this._promise = new Promise((resolve, reject) => Object.assign(this, { _resolve: resolve, _reject: reject }));
    this._promise.catch(() => {}); // nobody has to wait for an answer
    if (timeout) this._timer = setTimeout(() => this.fail(new Unanswered("no reply in time")), timeout);
  }

  then(fulfilled, rejected) {
    this._keep = false; // also where an iteration has left some: nobody may ever read them
    return this._promise.then(fulfilled, rejected);
  }

  catch(rejected) {
    return this.then(undefined, rejected);
  }

  finally(settled) {
    return this.then().finally(settled);
  }

  /** Have `listener` called for each partial, in place of iterating. */
  onPartial(listener) {
    this._listener = listener;
    this._partials.splice(0).forEach(listener);
    return this;
  }

  async *[Symbol.asyncIterator]() {
    this._keep = true;
    for (;;) {
      while (this._partials.length) yield this._partials.shift();
      if (this.done) break;
      await new Promise((resolve) => (this._wake = resolve));
    }
    await this._promise;
  }

  /** Forget the request; a caller that waits gets Unanswered. */
  cancel() {
    this.fail(new Unanswered("cancelled"));
  }

  // --- for the connection ---

  onEnd(callback) {
    this._ends.push(callback);
  }

  partial(context) {
    if (this.done) return;
    if (this._listener) {
      this._listener(context);
    } else if (this._keep) {
      if (this._partials.length >= MAX_PARTIALS) {
        this.fail(new RequestError({ code: "overrun", message: "partials came and were not read" }, context.connection));
        return;
      }
      this._partials.push(context);
      this._wake();
    }
  }

  reply(context) {
    this._end(() => this._resolve(context));
  }

  fail(error) {
    this._end(() => this._reject(error));
  }

  _end(settle) {
    if (this.done) return;
    this.done = true;
    clearTimeout(this._timer);
    settle();
    this._wake();
    this._ends.forEach((callback) => callback());
  }
}
