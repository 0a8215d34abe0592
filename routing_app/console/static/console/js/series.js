// A colour for each protocol, the same on every page.

import { element } from "./dom.js";

const COLOURS = 8;
export const PROTOCOLS = document.body.dataset.protocols.trim().split(/\s+/);

export function seriesOf(protocol) {
  const place = PROTOCOLS.indexOf(protocol);
  return place < 0 ? COLOURS : (place % COLOURS) + 1;
}

export function colourOf(series) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--s${series}`).trim();
}

export function dot(series) {
  return element("span", { class: "dot", "data-series": String(series), "aria-hidden": "true" });
}

// The protocol's name with its colour beside it.
export function protocolName(protocol) {
  return element("span", { class: "named" }, dot(seriesOf(protocol)), protocol);
}
