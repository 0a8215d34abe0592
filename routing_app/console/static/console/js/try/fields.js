// Form fields from their descriptions, and the values that are in them.

import { element, freshId } from "./dom.js";
import { parsed } from "./server.js";

// A field holds what it cannot take; the message is for its user.
export class BadField extends Error {}

// How the text of a field becomes a value, by `kind`: `text` as it is; `number`; `words`: a list, by commas
// or spaces; `json`: any JSON; `object`: a JSON object; `value`: JSON if it is some, else the text itself;
// `optional`: JSON, undefined where it is empty.
const READ = {
  text: (text) => text,
  number: (text) => (text === "" ? undefined : wanted(Number(text), Number.isFinite, "a number")),
  words: (text) => text.split(/[\s,]+/).filter(Boolean),
  json: (text) => wanted(parsed(text), (value) => value !== undefined, "JSON"),
  object: (text) => wanted(parsed(text), isObject, 'a JSON object such as {"text": "Hello"}'),
  value: (text) => parsed(text) ?? (text.trim() === "null" ? null : text),
  optional: (text) => (text.trim() === "" ? undefined : READ.json(text)),
};

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

function wanted(value, test, name) {
  if (!test(value)) throw new BadField(`expected ${name}`);
  return value;
}

// Fields as one group. A description has `name`, `label`, and where it is not a line of text a `kind` of
// those above, `check` (a checkbox), or `options` (choices); `value` is the first value, `values` one for
// each client; `hint` is shown below; `secret`: it stands in no snippet; `more`: it is folded away.
// `onchange` is called for every change.
export class Fields {
  #rows = new Map();
  #touched = new Set();

  constructor(descriptions, client, onchange = () => {}) {
    const usual = element("div", { class: "try-fields" });
    const more = element("div", { class: "try-fields" });
    for (const description of descriptions) {
      const row = makeRow(description, () => {
        this.#touched.add(description.name);
        this.#check(row);
        onchange();
      });
      this.#rows.set(description.name, row);
      (description.more ? more : usual).append(row.element);
    }
    const folded = more.childElementCount
      ? element("details", {}, element("summary", {}, "More"), more)
      : null;
    this.element = element("div", { class: "try-form" }, usual, folded);
    this.useClient(client);
  }

  // The values by name. Raises BadField, after it has shown the message at the field.
  values() {
    const bad = [...this.#rows.values()].filter((row) => !this.#check(row));
    if (bad.length) {
      bad[0].input.focus();
      throw new BadField(`${bad[0].description.label}: ${bad[0].error.textContent}`);
    }
    return this.peek();
  }

  // The values, with the text itself where it is not what its field takes.
  peek() {
    return Object.fromEntries([...this.#rows].map(([name, row]) => [name, read(row, true)]));
  }

  // The same for snippets: secrets are replaced by words.
  public() {
    const shown = ([name, row]) => [
      name,
      row.description.secret && row.input.value ? secretOf(name) : read(row, true),
    ];
    return Object.fromEntries([...this.#rows].map(shown));
  }

  // Set some values, as texts or JSON values.
  set(values) {
    for (const [name, value] of Object.entries(values)) {
      const row = this.#rows.get(name);
      if (row === undefined) continue;
      this.#touched.add(name);
      write(row, value);
      this.#check(row);
    }
  }

  // Show the first values of another client in the fields that nobody has changed.
  useClient(index) {
    for (const [name, row] of this.#rows) {
      const { options, value = options?.[0] ?? "", values } = row.description;
      if (!this.#touched.has(name)) write(row, values?.[index] ?? value);
    }
  }

  // Let nobody change what a connection is made of, or again; choices of yes and no stay open.
  disable(disabled) {
    for (const { input, description } of this.#rows.values()) {
      input.disabled = disabled && description.kind !== "check";
    }
  }

  #check(row) {
    let message = "";
    try {
      read(row);
    } catch (error) {
      message = error.message;
    }
    row.error.textContent = message;
    if (message) row.input.setAttribute("aria-invalid", "true");
    else row.input.removeAttribute("aria-invalid");
    return !message;
  }
}

function read({ description, input }, leniently = false) {
  if (description.kind === "check") return input.checked;
  try {
    return READ[description.kind ?? "text"](input.value);
  } catch (error) {
    if (leniently) return input.value;
    throw error;
  }
}

// A word in the place of a secret.
const secretOf = (name) => `YOUR_${name.toUpperCase()}`;

function write({ description, input }, value) {
  if (description.kind === "check") input.checked = Boolean(value);
  else if (description.kind === "words" && Array.isArray(value)) input.value = value.join(", ");
  else input.value = typeof value === "object" ? JSON.stringify(value) : value;
}

function makeRow(description, onchange) {
  const id = freshId("try-field");
  const input = makeInput(description, id, onchange);
  const error = element("span", { class: "try-error", id: `${id}-error`, role: "alert" });
  const described = [description.hint ? `${id}-hint` : "", `${id}-error`].filter(Boolean).join(" ");
  input.setAttribute("aria-describedby", described);
  const label = element("label", { for: id }, description.label);
  const check = description.kind === "check";
  const row = element(
    "div",
    { class: check ? "try-field try-check" : "try-field", "data-field": description.name },
    ...(check ? [input, label] : [label, input]),
    description.hint ? element("span", { class: "try-hint", id: `${id}-hint` }, description.hint) : null,
    error,
  );
  return { element: row, input, error, description };
}

const LONG = new Set(["json", "object", "value"]);

function makeInput({ kind = "text", options, name, placeholder, secret, rows = 2 }, id, onchange) {
  const common = { id, name, oninput: onchange };
  if (options) {
    const made = options.map((value) => element("option", { value }, value));
    return element("select", common, ...made);
  }
  if (kind === "check") return element("input", { ...common, type: "checkbox" });
  const texts = { ...common, placeholder, autocomplete: "off", autocapitalize: "off", spellcheck: "false" };
  if (LONG.has(kind)) return element("textarea", { ...texts, rows });
  if (secret) return element("input", { ...texts, type: "password", autocomplete: "new-password" });
  return element("input", { ...texts, type: kind === "number" ? "number" : "text" });
}
