// A client of a panel on the page: where it connects to, its state, and how its last connection ended.

import { element } from "./dom.js";
import { Fields } from "./fields.js";

const STATES = { closed: "not connected", connecting: "connecting …", open: "connected" };

// The card of a client; `onconnect()` is called by its button while the client is not connected.
export class ClientCard {
  constructor(client, descriptions, { title, connect = "Connect", onconnect, onchange }) {
    this.client = client;
    this.words = connect;
    this.fields = new Fields(descriptions, client.index, onchange);
    this.state = element("span", { class: "try-badge", role: "status" });
    this.note = element("p", { class: "try-note", role: "status" });
    this.button = element("button", { type: "submit" });
    this.extra = element("div", { class: "try-extra" });
    this.element = element(
      "form",
      {
        class: "try-client",
        "aria-label": title,
        novalidate: true,
        onsubmit: (event) => this.#act(event, onconnect),
      },
      element("div", { class: "try-tools" }, element("h3", {}, title), this.state),
      this.fields.element,
      element("div", { class: "try-actions" }, this.button, this.extra),
      this.note,
    );
    client.addEventListener("state", () => this.show());
    this.show();
  }

  // Show the state as it is now.
  show() {
    const { state, note, bad } = this.client;
    this.element.dataset.state = state;
    this.state.textContent = STATES[state];
    this.note.textContent = note;
    this.note.hidden = !note;
    this.note.toggleAttribute("data-bad", bad);
    this.button.textContent = state === "closed" ? this.words : "Disconnect";
    this.fields.disable(state !== "closed");
  }

  #act(event, onconnect) {
    event.preventDefault();
    if (this.client.state === "closed") onconnect();
    else this.client.close();
  }
}
