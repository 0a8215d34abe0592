// What a list shows stands in the address of the page, so that it can be sent to somebody, and comes back.

// The fields of a form and what else is in `defaults`, from the address; types are those of the defaults.
export function fromAddress(defaults) {
  const given = new URLSearchParams(location.search);
  const found = { ...defaults };
  for (const [name, value] of Object.entries(defaults)) {
    if (!given.has(name)) continue;
    const text = given.get(name);
    if (typeof value === "number") found[name] = Math.max(1, Number.parseInt(text, 10) || 1);
    else if (typeof value === "boolean") found[name] = text === "true";
    else found[name] = text;
  }
  return found;
}

export function toAddress(params, defaults) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== defaults[name]) query.set(name, String(value));
  }
  const text = query.toString();
  history.replaceState(null, "", text ? `?${text}` : location.pathname);
}

// Calls `changed` with the values of a form's fields as they are typed, a moment later.
export function onFields(form, changed) {
  let timer = null;
  const tell = () => {
    clearTimeout(timer);
    changed(Object.fromEntries(new FormData(form)));
  };
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(tell, 250);
  });
  form.addEventListener("change", tell);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    tell();
  });
}
