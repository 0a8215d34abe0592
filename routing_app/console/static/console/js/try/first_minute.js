// The guided first minute: steps that are ticked when they have really happened, whether their buttons did
// them or the forms of the panels.

import { element, setText } from "../dom.js";
import { onpanel, panelOf } from "./registry.js";
import { parsed } from "./server.js";

const TOKEN = "demo";
const ADDRESS = `token:${TOKEN}`;

const DO = {
  "connect-requests": () => panelOf("requests").connect(),
  subscribe: () => panelOf("requests").perform("subscribe", { addresses: ADDRESS }),
  "connect-tokens": () => panelOf("tokens").connect(0, { token: TOKEN }),
  send: () => panelOf("tokens").perform("broadcast", { receivers: TOKEN, text: "Hello from tokens" }),
  publish: () => panelOf("tokens").perform("publish", { addresses: ADDRESS, message: '{"from": "REST"}' }),
};

// Follows the two panels; `root` is the section of the page.
export class FirstMinute {
  #steps = new Map();
  // Texts that were sent to the token, each with the step that it belongs to; and who has received them.
  #sent = new Map();
  #subscriptions = new Set();

  constructor(root) {
    this.root = root;
    for (const row of root.querySelectorAll("[data-step]"))
      this.#steps.set(row.dataset.step, this.#step(row));
    this.#allow();
    onpanel((panel) => {
      if (panel.name === "requests") this.#followRequests(panel);
      if (panel.name === "tokens") this.#followTokens(panel);
    });
  }

  #step(row) {
    const button = row.querySelector("button");
    const error = element("span", { class: "try-error", role: "alert" });
    row.append(error);
    button.addEventListener("click", () => {
      setText(error, "");
      DO[row.dataset.step]();
    });
    return { row, button, error, done: false };
  }

  #followRequests(panel) {
    panel.addEventListener("state", ({ detail }) => {
      if (detail.client.state === "open") this.#tick("connect-requests");
      else if (detail.client.state === "closed") this.#fail("connect-requests", detail.client.note);
    });
    panel.addEventListener("frame", ({ detail }) =>
      this.#requestsFrame(detail.direction, parsed(detail.text)),
    );
  }

  #requestsFrame(direction, frame) {
    if (frame === null || typeof frame !== "object") return;
    if (direction === "out" && frame.type === "subscribe" && frame.addresses?.includes(ADDRESS)) {
      this.#subscriptions.add(frame.key);
    }
    if (direction === "in" && this.#subscriptions.has(frame.key)) {
      if (frame.direction === "REPLY") this.#tick("subscribe");
      if (frame.direction === "ERROR") this.#fail("subscribe", `${frame.code}: ${frame.message}`);
    }
    if (direction === "in" && frame.type === "delivery" && frame.address === ADDRESS) {
      this.#arrived(textOf(frame.message), "requests", JSON.stringify(frame));
    }
  }

  #followTokens(panel) {
    panel.addEventListener("state", ({ detail: { client } }) => {
      if (client.state === "open" && client.values.token === TOKEN) this.#tick("connect-tokens");
      else if (client.state === "closed") this.#fail("connect-tokens", client.note);
    });
    panel.addEventListener("frame", ({ detail: { direction, text } }) => {
      const [receivers, payload] = divided(text);
      if (direction === "out" && receivers.includes(TOKEN)) this.#expect(payload, "send");
      if (direction === "in") this.#arrived(unquoted(text), "tokens", text);
    });
    panel.addEventListener("answer", ({ detail: { request, answer } }) => {
      if (request.path !== "/api/publish" || !request.body.addresses.includes(ADDRESS)) return;
      if (answer.status === 200) this.#expect(textOf(request.body.message), "publish");
      else this.#fail("publish", `${answer.status}: ${answer.json?.detail ?? answer.text}`);
    });
  }

  // A message may arrive before the answer to the call that published it.
  #expect(text, step) {
    this.#sent.set(text, { ...this.#sent.get(text), step });
    this.#look(text);
  }

  #arrived(text, protocol, frame) {
    this.#sent.set(text, { ...this.#sent.get(text), [protocol]: frame });
    this.#look(text);
  }

  #look(text) {
    const { step, tokens, requests } = this.#sent.get(text);
    if (step && tokens !== undefined && requests !== undefined) {
      setText(this.root.querySelector('[data-shape="tokens"]'), tokens);
      setText(this.root.querySelector('[data-shape="requests"]'), requests);
      this.root.querySelector(".try-shapes").hidden = false;
      this.#sent.delete(text);
      this.#tick(step);
    } else if (this.#sent.size > 100) {
      this.#sent.delete(this.#sent.keys().next().value);
    }
  }

  #tick(name) {
    const step = this.#steps.get(name);
    setText(step.error, "");
    if (step.done) return;
    step.done = true;
    step.row.dataset.done = "";
    setText(step.row.querySelector(".try-tick"), "done");
    const had = document.activeElement === step.button;
    this.#allow();
    const next = [...this.#steps.values()].find((one) => !one.done);
    if (had && next) next.button.focus();
    if (!next) this.root.querySelector(".try-finished").hidden = false;
  }

  #fail(name, why) {
    const step = this.#steps.get(name);
    if (!step.done) setText(step.error, why);
  }

  // Each button works once the steps before it are done.
  #allow() {
    let reached = true;
    for (const step of this.#steps.values()) {
      step.button.disabled = !reached;
      reached &&= step.done;
    }
  }
}

const textOf = (message) => (typeof message === "string" ? message : JSON.stringify(message));

// With TOKENS_WIRE_COMPAT the text comes as a JSON string and a line feed.
const unquoted = (text) => (text.endsWith("\n") ? textOf(parsed(text) ?? text) : text);

function divided(text) {
  const at = text.indexOf("|");
  return at < 0
    ? [[], ""]
    : [
        text
          .slice(0, at)
          .split(",")
          .map((one) => one.trim()),
        text.slice(at + 1),
      ];
}
