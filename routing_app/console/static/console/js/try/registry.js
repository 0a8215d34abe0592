// The panels of the page, by the names of their protocols.

const panels = new Map();
const waiting = [];

// Make a panel known.
export function announce(panel) {
  panels.set(panel.name, panel);
  for (const listener of waiting) listener(panel);
}

// A panel, or undefined.
export const panelOf = (name) => panels.get(name);

// Call `listener(panel)` for each panel, those included that come later.
export function onpanel(listener) {
  waiting.push(listener);
  for (const panel of panels.values()) listener(panel);
}
