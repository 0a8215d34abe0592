// A colour for each protocol, the same on every page.

import { element } from "./dom.js";

const COLOURS = 8;
export const PROTOCOLS = document.body.dataset.protocols.trim().split(/\s+/);

export function seriesOf(protocol) {
  const place = PROTOCOLS.indexOf(protocol);
  return place < 0 ? COLOURS : (place % COLOURS) + 1;
}

// A variable of the style sheet as the theme of now has it, as charts take it: "rgb(52, 87, 213)".
export function colour(name) {
  const probe = element("span", { hidden: true });
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

export function colourOf(series) {
  return colour(`s${series}`);
}

// The same for an area.
export function faint(found) {
  return found.replace(/^rgb\((.*)\)$/, "rgba($1, .18)");
}

export function dot(series) {
  return element("span", { class: "dot", "data-series": String(series), "aria-hidden": "true" });
}

// The protocol's name with its colour beside it.
export function protocolName(protocol) {
  return element("span", { class: "named" }, dot(seriesOf(protocol)), protocol);
}
