// A box for a message, JSON or text, that says whether it is JSON while it is typed.
//
// new MessageBox(element, { label, button, send(message) -> Promise, done(answer) -> string })

import { act, element, setText } from "./dom.js";

let boxes = 0;

export class MessageBox {
  constructor(target, { label, button, send, done }) {
    const id = `message-${++boxes}`;
    this.area = element("textarea", { id, rows: "4", spellcheck: "false", "aria-describedby": `${id}-note`, name: "message" });
    this.area.value = '{"text": "hello"}';
    this.kind = element("select", { "aria-label": "Kind of message", name: "kind" }, element("option", { value: "json" }, "JSON"), element("option", { value: "text" }, "Text"));
    this.note = element("span", { id: `${id}-note`, class: "soft", role: "status" });
    this.button = element("button", {}, button);
    const form = element(
      "form",
      { class: "stack" },
      element("label", { for: id }, label),
      this.area,
      element("div", { class: "buttons" }, this.button, this.kind, this.note),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const found = this.message();
      if (found.ok) act(this.button, () => send(found.value), done);
    });
    this.area.addEventListener("input", () => this.check());
    this.kind.addEventListener("change", () => this.check());
    target.append(form);
    this.check();
  }

  message() {
    if (this.kind.value === "text") return { ok: true, value: this.area.value };
    try {
      return { ok: true, value: JSON.parse(this.area.value) };
    } catch (error) {
      return { ok: false, why: error.message };
    }
  }

  check() {
    const found = this.message();
    this.button.disabled = !found.ok;
    this.area.setAttribute("aria-invalid", String(!found.ok));
    this.note.className = found.ok ? "good" : "bad";
    if (this.kind.value === "text") setText(this.note, "Sent as one string.");
    else setText(this.note, found.ok ? "Valid JSON." : `Not JSON: ${found.why}`);
  }
}
