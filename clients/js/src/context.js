// The argument of a handler, and an answer: the message, its type, and the connection it came by.

import { answerTo, encode } from "./wire.js";

/** A second reply or error, or a partial after one of them: nothing is sent. */
export class Answered extends Error {
  constructor() {
    super("a request is answered once");
    this.name = "Answered";
  }
}

export class Context {
  constructor(connection, message) {
    this.connection = connection;
    this.message = message;
    this.type = message.type;
  }
}

/** A request of the server: a context with `reply`, `error` and `partial`. */
export class RequestContext extends Context {
  constructor(connection, message) {
    super(connection, message);
    this.answered = false;
  }

  /** Send the reply. */
  reply(message, options, callback) {
    return this._answer("REPLY", message, options, callback);
  }

  /** Send the final failure. */
  error(message, options, callback) {
    return this._answer("ERROR", message, options, callback);
  }

  /** Send a piece of the answer. */
  partial(message, options, callback) {
    return this._answer("PARTIAL", message, options, callback);
  }

  _answer(direction, message = {}, options, callback) {
    return settle(typeof options === "function" ? options : callback, async () => {
      if (this.answered) throw new Answered();
      const frame = encode(message, answerTo(this.message, direction), options);
      this.answered = direction !== "PARTIAL";
      this.connection._write(frame);
    });
  }
}

/** Run `action`; tell a callback as the original does, `(err)` or `(null, value)`, or return the promise. */
export function settle(callback, action) {
  const promise = action();
  if (typeof callback !== "function") return promise;
  return void promise.then(
    (value) => callback(null, value),
    (error) => callback(error),
  );
}
