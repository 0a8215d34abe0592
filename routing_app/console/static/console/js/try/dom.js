// What the panels need beside ../dom.js.

export { element } from "../dom.js";

let last = 0;

// An id that no other element of the page has.
export const freshId = (prefix) => `${prefix}-${(last += 1)}`;

// The JSON value that the server has put into an element, or null.
export function embedded(id) {
  const holder = document.getElementById(id);
  return holder === null ? null : JSON.parse(holder.dataset.json);
}

// Bytes of a text on the wire.
export const bytes = (text) => new TextEncoder().encode(text).length;
