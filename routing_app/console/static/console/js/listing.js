// A list of REST in a table with pages, read again and again while it is seen.
//
// new Listing({ target, pages, label, words, every, size, path, table, onData, onError, changes })
//   target, pages: elements; words: of one row and of many, such as ["entry", "entries"]; path(): below /api/ without its page, such as "sessions/?customer=a", or null for nothing now
//   table: what a Table takes; onData(answer): after each reading, before it is shown; changes: see poll; then ages in rows go on without a reading
// look(): from the first page, after another path; again(): now, the same page

import { Pager } from "./pager.js";
import { poll } from "./rest.js";
import { Table } from "./table.js";

export class Listing {
  constructor({ target, pages, label, words, every, size = 50, path, table, onData = () => {}, onError = () => {}, changes = null }) {
    this.path = path;
    this.size = size;
    this.page = 1;
    this.rows = null;
    this.onData = onData;
    this.table = new Table(target, { caption: label, ...table });
    this.words = words;
    this.foot = pages;
    this.foot.hidden = true;
    this.pager = new Pager(pages, (page) => this.turn(page));
    this.polled = poll(this.url(), every, (answer) => this.show(answer), (error) => this.fail(error, onError), changes);
    if (changes) setInterval(() => this.rows && !document.hidden && this.table.show(this.rows), every * 1000);
  }

  url() {
    const path = this.path();
    return `${path}${path.includes("?") ? "&" : "?"}page=${this.page}&page_size=${this.size}`;
  }

  turn(page) {
    this.page = page;
    this.polled.update(this.url());
  }

  look() {
    this.turn(1);
  }

  again() {
    this.polled.now();
  }

  show(answer) {
    this.onData(answer);
    this.rows = answer.results;
    this.table.show(this.rows);
    this.foot.hidden = answer.count === 0;
    const pages = Math.max(1, Math.ceil(answer.count / this.size));
    this.pager.show({ count: answer.count, page: this.page, pages }, ...this.words);
  }

  // The page has gone with its rows: back to one that is there.
  fail(error, onError) {
    if (error.status === 404 && this.page > 1) this.turn(this.page - 1);
    else onError(error);
  }
}

// "sessions/" and { customer: "a", tag: "" } -> "sessions/?customer=a"
export function query(path, values) {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

// The values of a form by name, kept in the address of the page, so that it can be linked to and reloaded.
export class Filter {
  constructor(form, onChange) {
    this.form = form;
    this.onChange = onChange;
    for (const [name, value] of new URLSearchParams(location.search)) {
      const field = form.elements.namedItem(name);
      if (field?.tagName === "SELECT") choose(field, value);
      else if (field) field.value = value;
    }
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => this.later());
    form.addEventListener("reset", () => setTimeout(() => this.changed()));
  }

  get values() {
    return Object.fromEntries(new FormData(this.form));
  }

  set(values) {
    for (const [name, value] of Object.entries(values)) {
      const field = this.form.elements[name];
      if (field.tagName === "SELECT") choose(field, value);
      else field.value = value;
    }
    this.changed();
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.changed(), 250);
  }

  changed() {
    clearTimeout(this.timer);
    history.replaceState(null, "", query(location.pathname, this.values));
    this.onChange();
  }
}

// Chooses a value that may not be among the options yet.
function choose(select, value) {
  if (![...select.options].some((option) => option.value === value)) select.add(new Option(value, value));
  select.value = value;
}

// Has a select offer these values after those that it has in the page, and keep what is chosen.
export function offer(select, values) {
  const fixed = [...select.options].filter((option) => option.value === "");
  const shown = JSON.stringify(values);
  if (select.dataset.offered === shown) return;
  select.dataset.offered = shown;
  const chosen = select.value;
  select.replaceChildren(...fixed, ...values.map((value) => new Option(value, value)));
  if (chosen) choose(select, chosen);
}
