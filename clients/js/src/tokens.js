// An access token: where it comes from, and when the next one is needed.

import { mayPass, waits } from "./dialing.js";

/** The close code of a connection whose token has expired. */
export const EXPIRED = 4005;

const LEAD = 30_000;
const LONGEST_TIMER = 86_400_000;
const LATER = 4100;

/** Milliseconds until a token is replaced that is good for so many seconds: 30 s before its end, or a quarter. */
export function renewsIn(seconds) {
  return Math.max(0, seconds * 1000 - Math.min(LEAD, seconds * 250));
}

/** Gives a connection a token for each socket, and another before that expires. */
export class AccessToken {
  /** `source` is a token, or a function that returns one, or a promise of one. */
  constructor(source) {
    this._source = source;
    this._timer = null;
    this._rounds = 0;
  }

  /** Can there be another one? */
  get renews() {
    return typeof this._source === "function";
  }

  get() {
    return this.renews ? this._source() : this._source;
  }

  /** The URL of a socket with a token: a page cannot set a header, and a server may refuse a socket without. */
  async addedTo(url) {
    const token = await this.get();
    return token ? `${url}${url.includes("?") ? "&" : "?"}access_token=${encodeURIComponent(token)}` : url;
  }

  /**
   * Replace the token of an open socket in time, again and again until `stop`. `ask` sends a request and resolves
   * with its reply; `failed` is told of each failure, after which it tries again.
   */
  async keepFresh(ask, failed) {
    this.stop();
    if (!this.renews) return;
    await this._begin(ask, failed);
  }

  async _begin(ask, failed, pauses = waits(LATER)) {
    const round = this._rounds;
    // Stopped meanwhile: the socket was closed, and a timer would keep its process alive.
    const isOn = () => this._rounds === round;
    try {
      const { message } = await ask({ type: "whoami" });
      if (isOn()) this._renewAfter(message.expires_in, ask, failed);
    } catch (error) {
      // Others are of a server without tokens, or of a socket that was lost: the next one begins again.
      if (!isOn() || !mayPass(error.code)) return;
      failed(error);
      this._timer = setTimeout(() => this._begin(ask, failed, pauses), pauses.next().value);
    }
  }

  stop() {
    clearTimeout(this._timer);
    this._timer = null;
    this._rounds += 1;
  }

  _renewAfter(seconds, ask, failed) {
    if (seconds === undefined) return;
    const end = Date.now() + renewsIn(seconds);
    const wait = () => {
      const left = end - Date.now();
      this._timer = setTimeout(() => (left > LONGEST_TIMER ? wait() : this._renew(ask, failed)), Math.min(left, LONGEST_TIMER));
    };
    wait();
  }

  async _renew(ask, failed, pauses = waits(LATER)) {
    const timer = this._timer;
    try {
      const { message } = await ask({ type: "authenticate", token: await this.get() });
      if (this._timer === timer) this._renewAfter(message.expires_in, ask, failed);
    } catch (error) {
      if (this._timer !== timer) return; // stopped: the socket was lost
      failed(error);
      this._timer = setTimeout(() => this._renew(ask, failed, pauses), pauses.next().value);
    }
  }
}
