// The messages of a protocol as forms, one at a time.

import { element, freshId } from "./dom.js";
import { Fields } from "./fields.js";

// Choices of acts, the fields of the chosen one, and a button. `onsend()` is called by the button,
// `onchange()` whenever something in the form has changed.
export class Acts {
  #fields = new Map();

  constructor(label, clients, { onsend, onchange }) {
    this.clients = clients;
    this.onchange = onchange;
    this.choices = element("div", { class: "try-choices" });
    this.about = element("p", { class: "try-about" });
    this.place = element("div", {});
    this.button = element("button", { type: "submit", class: "try-send" }, "Send");
    this.error = element("p", { class: "try-error", role: "alert" });
    this.sender = senderField(clients, () => this.#useSender());
    this.element = element(
      "form",
      {
        class: "try-acts",
        "aria-label": `Messages of ${label}`,
        novalidate: true,
        onsubmit: (event) => send(event),
      },
      element("fieldset", { class: "try-messages" }, element("legend", {}, "Messages"), this.choices),
      this.about,
      this.place,
      element("div", { class: "try-actions" }, this.sender?.element ?? null, this.button),
      this.error,
    );
    const send = (event) => {
      event.preventDefault();
      onsend();
    };
  }

  // Offer these acts; the chosen one stays if it is among them.
  offer(acts) {
    if (acts.map((act) => act.name).join() === this.offered) return;
    this.offered = acts.map((act) => act.name).join();
    const name = freshId("try-act");
    this.acts = new Map(acts.map((act) => [act.name, act]));
    this.choices.replaceChildren(...acts.map((act) => this.#choice(act, name)));
    this.choose(this.acts.has(this.act?.name) ? this.act.name : acts[0].name);
  }

  // Show the form of an act, with some values.
  choose(name, values = {}) {
    this.act = this.acts.get(name);
    this.#fieldsOf(name);
    this.fields.useClient(this.senderIndex);
    this.fields.set(values);
    this.choices.querySelector(`[value="${name}"]`).checked = true;
    this.about.textContent = this.act.about ?? "";
    this.place.replaceChildren(this.fields.element);
    this.button.textContent = this.act.button ?? "Send";
    this.error.textContent = "";
    this.onchange();
  }

  // The fields of the chosen act.
  get fields() {
    return this.#fields.get(this.act.name);
  }

  // The place of the chosen client among the clients.
  get senderIndex() {
    return Number(this.sender?.input.value ?? 0);
  }

  // Replace what is said about an act.
  hint(name, about) {
    const act = this.acts.get(name);
    act.about = about;
    if (this.act === act) this.about.textContent = about;
  }

  // Put values into the form of an act, which need not be the chosen one.
  suggest(name, values) {
    this.#fieldsOf(name).set(values);
    this.onchange();
  }

  // Choose the client that sends.
  chooseSender(index) {
    if (this.sender) this.sender.input.value = String(index);
    this.#useSender();
  }

  #fieldsOf(name) {
    if (!this.#fields.has(name)) {
      const { fields = [] } = this.acts.get(name);
      this.#fields.set(name, new Fields(fields, this.senderIndex, () => this.onchange()));
    }
    return this.#fields.get(name);
  }

  #useSender() {
    this.fields?.useClient(this.senderIndex);
    this.onchange();
  }

  #choice(act, group) {
    const id = freshId("try-choice");
    const input = element("input", {
      type: "radio",
      id,
      name: group,
      value: act.name,
      class: "visually-hidden",
      onchange: () => this.choose(act.name),
    });
    return element("span", { class: "try-choice" }, input, element("label", { for: id }, act.label));
  }
}

function senderField(clients, onchange) {
  if (clients.length < 2) return null;
  const id = freshId("try-sender");
  const options = clients.map((client) => element("option", { value: client.index }, client.name));
  const input = element("select", { id, onchange }, ...options);
  return {
    input,
    element: element("span", { class: "try-sender" }, element("label", { for: id }, "as"), input),
  };
}
