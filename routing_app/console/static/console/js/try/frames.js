// The list of frames of a panel: time, client, direction, size and text; the last 300 are kept.

import { bytes, element } from "./dom.js";
import { parsed } from "./server.js";

export const KEPT = 300;

const SIGNS = { in: "←", out: "→", state: "•" };
const WORDS = { in: "received", out: "sent", state: "socket" };

const clock = (at) => at.toTimeString().slice(0, 8) + "." + String(at.getMilliseconds()).padStart(3, "0");

// A list with its tools, as `element`; `add` appends to it at the next repaint.
export class FrameList {
  #waiting = [];
  #dropped = 0;
  #pretty = false;
  #several;

  constructor(label, severalClients) {
    this.#several = severalClients;
    this.list = element("ol", {
      class: severalClients ? "try-frames try-several" : "try-frames",
      role: "list",
    });
    this.scroller = element(
      "div",
      { class: "try-scroller", role: "log", tabindex: "0", "aria-label": `Frames of ${label}` },
      this.list,
    );
    this.count = element("span", { class: "try-count" }, "no frames yet");
    const box = element("input", { type: "checkbox", onchange: () => this.#setPretty(box.checked) });
    this.element = element(
      "div",
      { class: "try-log" },
      element(
        "div",
        { class: "try-tools" },
        element("h3", {}, "Frames"),
        this.count,
        element("label", { class: "try-check" }, box, "JSON in lines"),
        element("button", { type: "button", class: "quiet try-small", onclick: () => this.clear() }, "Clear"),
      ),
      this.scroller,
    );
  }

  // Show a frame. `direction`: in, out or state; `client`: its name; `kind`: "frame", "HTTP" or "socket".
  add({ direction, text, client, kind = "frame" }) {
    this.#waiting.push({ direction, text, client, kind, at: new Date() });
    if (this.#waiting.length > KEPT) {
      this.#waiting.shift();
      this.#dropped += 1;
    }
    if (this.#waiting.length === 1) requestAnimationFrame(() => this.#flush());
  }

  // Forget all frames.
  clear() {
    this.#waiting = [];
    this.#dropped = 0;
    this.list.replaceChildren();
    this.#tellCount();
  }

  #flush() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const follows = scrollHeight - scrollTop - clientHeight < 40;
    this.list.append(...this.#waiting.map((frame) => this.#row(frame)));
    this.#waiting = [];
    while (this.list.childElementCount > KEPT) {
      this.list.firstElementChild.remove();
      this.#dropped += 1;
    }
    if (follows) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#tellCount();
  }

  #row({ direction, text, client, kind, at }) {
    const row = element(
      "li",
      { class: `try-frame try-${direction}`, "data-kind": kind },
      element("time", { datetime: at.toISOString() }, clock(at)),
      this.#several ? element("span", { class: "try-who" }, client) : null,
      element(
        "span",
        { class: "try-direction" },
        element("span", { "aria-hidden": "true" }, SIGNS[direction]),
        element("span", { class: "visually-hidden" }, WORDS[direction]),
      ),
      element("span", { class: "try-size" }, kind === "frame" ? `${bytes(text)} B` : kind),
      element("pre", { class: "try-text" }),
    );
    row.frameText = text;
    this.#write(row);
    return row;
  }

  #write(row) {
    row.lastElementChild.textContent = this.#pretty ? inLines(row.frameText) : row.frameText;
  }

  #setPretty(pretty) {
    this.#pretty = pretty;
    for (const row of this.list.children) this.#write(row);
  }

  #tellCount() {
    const shown = this.list.childElementCount;
    const text = shown === 0 ? "no frames yet" : shown === 1 ? "1 row" : `${shown} rows`;
    this.count.textContent = this.#dropped ? `${text}, ${this.#dropped} older ones dropped` : text;
  }
}

function inLines(text) {
  const value = parsed(text);
  return value === undefined || typeof value !== "object" ? text : JSON.stringify(value, null, 2);
}
