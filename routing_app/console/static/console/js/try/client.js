// One socket of a panel, its state, and the ends of connections in words.

import { embedded } from "./dom.js";

const CLOSES = new Map((embedded("close-codes") ?? []).map((close) => [close.code, close]));

const OF_BROWSERS = {
  1001: "the page or the server went away",
  1005: "closed without a code",
  1006:
    "The handshake was refused (403: stay away, 503 or 429: come back later), or the connection broke. " +
    "A browser does not say which; the server's log does.",
};

// A close code as a sentence: its name, its reason, and what a client does next.
export function explain(code, reason) {
  const known = CLOSES.get(code);
  const said = known ? reason || known.reason : reason || OF_BROWSERS[code] || "";
  const parts = [
    `${code}${known ? ` ${known.name}` : ""}`,
    said,
    known ? `A client should ${known.advice}.` : "",
  ];
  return parts.filter(Boolean).join(" · ");
}

// A client: `state` is closed, connecting or open. Events: `state`; `frame` with `direction` (in or out) and
// `text`; `end` with `code` and `reason`.
export class Client extends EventTarget {
  #socket = null;

  constructor(name, index) {
    super();
    this.name = name;
    this.index = index;
    this.state = "closed";
    // Values of the connection that is open, or was the last one.
    this.values = {};
    // Why the last connection ended, or what else is to be known of the client; `bad`: something was refused.
    this.note = "";
    this.bad = false;
  }

  // Open a socket, in place of the one that was.
  open(url, values) {
    this.#leave(1000);
    this.values = values;
    this.#become("connecting", "");
    const socket = (this.#socket = new WebSocket(url));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket === this.#socket && this.#become("open", "");
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      const text = typeof data === "string" ? data : `(binary, ${data.byteLength} bytes)`;
      this.#tell("frame", { direction: "in", text });
    };
    socket.onclose = ({ code, reason }) => this.#ended(socket, code, reason);
  }

  // Send a text. Does nothing without an open socket; true if it was sent.
  send(text) {
    if (this.state !== "open") return false;
    this.#socket.send(text);
    this.#tell("frame", { direction: "out", text });
    return true;
  }

  // Close the socket, as a client does that leaves.
  close() {
    this.#leave(1000);
  }

  // Say something of the client beside its state.
  say(note, bad = false) {
    this.#become(this.state, note, bad);
  }

  #leave(code) {
    if (this.#socket === null) return;
    this.#socket.close(code);
    this.#ended(this.#socket, code, "", `${code} · closed by this page`);
  }

  #ended(socket, code, reason, note = explain(code, reason)) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    this.#become("closed", note, code !== 1000);
    this.#tell("end", { code, reason, note: this.note });
  }

  #become(state, note, bad = false) {
    const opened = state === "open" && this.state !== "open";
    this.state = state;
    this.note = note;
    this.bad = bad;
    if (opened) this.#tell("opened", {});
    this.#tell("state", { state });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
