// Elements, made and changed without HTML in strings: every text is put in as text.

// element("a", { href: "/x", class: "quiet", onclick: f }, "text", child, …)
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// The head of a column of buttons, for those who hear the table.
export function unseen(text) {
  return element("span", { class: "visually-hidden" }, text);
}

export function byId(id) {
  return document.getElementById(id);
}

// Changes the text only where it is another, so that a selection in the page stays.
export function setText(target, text) {
  if (target && target.textContent !== text) target.textContent = text;
}

export function setAttribute(target, name, value) {
  if (target.getAttribute(name) !== value) target.setAttribute(name, value);
}

// Below the root of the console: path("connections/", { protocol: "tokens" })
export function path(below, query = {}) {
  const url = new URL(below, new URL(document.body.dataset.root, location.href));
  for (const [name, value] of Object.entries(query)) {
    if (value !== "" && value !== null && value !== undefined) url.searchParams.set(name, value);
  }
  return url.pathname + url.search;
}

// The short note at the edge of the page after an act; "bad" stays longer.
export function toast(text, kind = "good") {
  const note = element("p", { class: `toast ${kind}` }, text);
  byId("toasts").append(note);
  setTimeout(() => note.remove(), kind === "bad" ? 12_000 : 5000);
}

// Asks before an act: resolves with true for yes. `words` names the act on the button.
export function confirmed(title, text, words, extra = []) {
  return new Promise((resolve) => {
    const form = element(
      "form",
      { method: "dialog" },
      element("h2", {}, title),
      element("p", {}, text),
      ...extra,
      element(
        "p",
        { class: "buttons" },
        element("button", { value: "", class: "quiet" }, "Cancel"),
        element("button", { value: "yes", class: "danger" }, words),
      ),
    );
    const dialog = element("dialog", { "aria-label": title }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

// Runs an act of a button: it is off meanwhile, and a failure is told.
export async function act(button, work, done) {
  button.disabled = true;
  try {
    const answer = await work();
    if (done) toast(typeof done === "function" ? done(answer) : done);
    return answer;
  } catch (error) {
    toast(error.message, "bad");
    return undefined;
  } finally {
    button.disabled = false;
  }
}
