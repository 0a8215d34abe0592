// A secret that is shown this once, with a button that copies it.

import { element } from "./dom.js";

export function shownOnce(title, secret, toast) {
  return new Promise((resolve) => {
    const field = element("input", { readonly: true, value: secret, "aria-label": title, class: "mono", autocomplete: "off" });
    const copy = element("button", { type: "button", class: "quiet" }, "Copy");
    copy.addEventListener("click", async () => {
      field.select();
      try {
        await navigator.clipboard.writeText(secret);
        toast("Copied");
      } catch {
        toast("This browser does not let a page copy: the secret is selected", "bad");
      }
    });
    const form = element(
      "form",
      { method: "dialog" },
      element("h2", {}, title),
      element("p", {}, "It is shown this once. Give it to the receiver, which checks signatures with it."),
      field,
      element("p", { class: "buttons" }, copy, element("button", { value: "" }, "I have it")),
    );
    const dialog = element("dialog", { "aria-label": title }, form);
    dialog.addEventListener("close", () => {
      dialog.remove(); // and the secret with it
      resolve();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
