// A panel of "Try it": the clients of one protocol, its messages as forms, frames, and snippets.
//
// A protocol's module, `static/<protocol>/panel.js`, describes it:
//
//     import { definePanel } from "../console/js/try/panel.js";
//
//     definePanel("chat", {
//       connection: { fields: [{ name: "nick", label: "Nickname", value: "ann" }],
//                     path: ({ nick }) => `/chat?nick=${encodeURIComponent(nick)}` },
//       acts: [{ name: "say", label: "Say", fields: [{ name: "text", label: "Text", value: "Hello" }],
//                frame: ({ text }) => ({ say: text }) }],
//     });
//
// An act has `frame(values, connection, panel)`, a text or a JSON value that the chosen client sends, or
// `request(values, connection, panel)`, an HTTP call as `server.call` takes it; `curl` the same as an HTTP
// call for the snippets; `before`: frames that a snippet sends first; `when(shared)`: false where the act is
// not offered; `snippets(values, connection, panel)` in place of the usual ones.

import { Acts } from "./acts.js";
import { ClientCard } from "./card.js";
import { Client } from "./client.js";
import { element, embedded } from "./dom.js";
import { BadField, Fields } from "./fields.js";
import { FrameList } from "./frames.js";
import { announce } from "./registry.js";
import { call, WS } from "./server.js";
import { httpSnippets, Snippets, socketSnippets } from "./snippets.js";

// Events: `frame` with `client`, `direction`, `text`; `state` with `client`; `answer` with `request` and
// `answer` of an HTTP call.
export class Panel extends EventTarget {
  constructor(name, root, description) {
    super();
    this.name = name;
    this.root = root;
    this.description = description;
    this.label = root.dataset.label;
    // The server's own data for this panel (`Protocol.console_data`).
    this.data = embedded(root.id);
    const names = description.clients ?? ["Client"];
    this.clients = names.map((title, index) => new Client(title, index));
    this.frames = new FrameList(this.label, this.clients.length > 1);
    this.snippets = new Snippets(this.label);
    this.#build();
    for (const client of this.clients) this.#listen(client);
    description.start?.(this);
    this.#refresh();
  }

  // Open the socket of a client, with these values in its fields.
  async connect(index = 0, values = {}) {
    const card = this.cards[index];
    card.fields.set(values);
    try {
      const filled = this.connectionOf(index, "values");
      const path = this.description.connection.prepare
        ? await this.description.connection.prepare(filled, this.clients[index], this)
        : this.description.connection.path(filled);
      if (path) this.open(index, path, filled);
    } catch (error) {
      if (!(error instanceof BadField)) throw error;
    }
  }

  // Open the socket of a client at a path of this server.
  open(index, path, values) {
    this.clients[index].open(WS + path, values);
  }

  // Replace what is said about an act.
  hint(act, about) {
    this.acts.hint(act, about);
  }

  // Put values into the form of an act, which need not be the chosen one.
  suggest(act, values) {
    this.acts.suggest(act, values);
  }

  // Do an act as a client, with these values in its form; an HTTP act resolves to its answer.
  async perform(act, values = {}, index = 0) {
    this.acts.chooseSender(index);
    this.acts.choose(act, values);
    return this.#send();
  }

  // Values of the fields of a connection, shared ones included, by a method of `Fields`.
  connectionOf(index, read = "peek") {
    return { ...this.shared[read](), ...this.cards[index].fields[read]() };
  }

  // Call the server as a client, and show it among the frames.
  async http(request, index = 0) {
    const { name } = this.clients[index];
    const body = request.body ?? request.form;
    const said = `${request.method ?? "GET"} ${request.path}${body ? ` ${JSON.stringify(body)}` : ""}`;
    this.frames.add({ direction: "out", text: said, client: name, kind: "HTTP" });
    const answer = await call(request);
    const text = answer.status ? `${answer.status} ${answer.text}`.trim() : answer.text;
    this.frames.add({ direction: "in", text, client: name, kind: "HTTP" });
    this.#tell("answer", { request, answer, client: this.clients[index] });
    return answer;
  }

  // Begin with another set of acts, or with other values in the snippets.
  refresh() {
    this.#refresh();
  }

  #build() {
    const { connection, shared = [], acts } = this.description;
    this.shared = new Fields(shared, 0, () => this.#refresh());
    const many = this.clients.length > 1;
    this.cards = this.clients.map(
      (client, index) =>
        new ClientCard(client, connection.fields, {
          title: many ? `${connection.noun ?? "Client"} ${client.name}` : "Connection",
          connect: connection.button,
          onconnect: () => this.connect(index),
          onchange: () => this.#refresh(),
        }),
    );
    this.acts = new Acts(this.label, this.clients, {
      onsend: () => this.#send(),
      onchange: () => this.#refresh(),
    });
    this.setup = element(
      "form",
      {
        class: "try-setup",
        "aria-label": `Settings of ${this.label}`,
        onsubmit: (event) => event.preventDefault(),
      },
      shared.length ? this.shared.element : null,
    );
    this.root.append(
      this.setup,
      element("div", { class: "try-clients" }, ...this.cards.map((card) => card.element)),
      element("div", { class: "try-work" }, this.acts.element, this.frames.element),
      this.snippets.element,
    );
    this.acts.offer(this.#offered(acts));
  }

  #offered(acts) {
    const shared = this.shared.peek();
    return acts.filter((act) => act.when?.(shared) ?? true);
  }

  #listen(client) {
    client.addEventListener("frame", ({ detail }) => {
      this.frames.add({ ...detail, client: client.name });
      this.#tell("frame", { ...detail, client });
      if (detail.direction === "in") this.description.onframe?.(detail.text, client, this);
    });
    client.addEventListener("opened", () => this.#say(client, "open"));
    client.addEventListener("end", ({ detail }) => this.#say(client, `closed: ${detail.note}`));
    client.addEventListener("state", () => {
      this.shared.disable(this.clients.some(({ state }) => state !== "closed"));
      this.#tell("state", { client });
    });
  }

  #say(client, text) {
    this.frames.add({ direction: "state", text, client: client.name, kind: "socket" });
  }

  async #send() {
    const { act, error, senderIndex } = this.acts;
    error.textContent = "";
    try {
      const values = this.acts.fields.values();
      const connection = this.connectionOf(senderIndex);
      if (act.request) return await this.http(act.request(values, connection, this), senderIndex);
      const frame = act.frame(values, connection, this);
      const text = typeof frame === "string" ? frame : JSON.stringify(frame);
      if (!this.clients[senderIndex].send(text))
        error.textContent = "Connect first: this goes over the socket.";
    } catch (bad) {
      if (!(bad instanceof BadField)) throw bad;
    }
    this.#refresh();
    return undefined;
  }

  #refresh() {
    if (!this.acts?.act) return;
    this.acts.offer(this.#offered(this.description.acts));
    const { act, fields, senderIndex } = this.acts;
    const [values, connection] = [fields.public(), this.connectionOf(senderIndex, "public")];
    const make = act.snippets ?? this.description.snippets ?? usualSnippets;
    this.snippets.show(make.call(act, values, connection, this));
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

// The snippets of an act that says nothing else. `this` is the act.
export function usualSnippets(values, connection, panel) {
  if (this.request) return httpSnippets(this.request(values, connection, panel), this.credential);
  const frames = [...(this.before?.(values, connection) ?? []), this.frame(values, connection, panel)];
  const curl = this.curl ? httpSnippets(this.curl(values, connection), this.credential).curl : undefined;
  return { ...socketSnippets(panel.description.connection.path(connection), frames), curl };
}

// Build the panel of a protocol, where the page has a place for it.
export function definePanel(name, description) {
  const root = document.getElementById(`panel-${name}`);
  if (root) announce(new Panel(name, root, description));
}
