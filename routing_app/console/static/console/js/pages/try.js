// "Try it": tabs of the protocols, with the state of their clients, and the first minute. Panels come by
// themselves.

import { byId, setText } from "../dom.js";
import { FirstMinute } from "../try/first_minute.js";
import { onpanel } from "../try/registry.js";
import { tabs } from "../try/tabs.js";

const list = byId("protocols");
const unseen = new Map();
const select = tabs(list, (tab) => {
  unseen.delete(tab.dataset.protocol);
  tell(tab.dataset.protocol);
  history.replaceState(null, "", `#${tab.dataset.protocol}`);
});

const tabOf = (name) => list.querySelector(`[data-protocol="${CSS.escape(name)}"]`);

// Frames that came while the tab was not shown stand beside its name.
function tell(name) {
  const count = unseen.get(name) ?? 0;
  setText(tabOf(name).querySelector("[data-unseen]"), count ? String(count) : "");
}

onpanel((panel) => {
  const tab = tabOf(panel.name);
  panel.addEventListener("state", () => {
    const open = panel.clients.some(({ state }) => state === "open");
    tab.toggleAttribute("data-open", open);
    setText(tab.querySelector("[data-connected]"), open ? "connected" : "");
  });
  panel.addEventListener("frame", () => {
    if (tab.getAttribute("aria-selected") === "true") return;
    unseen.set(panel.name, (unseen.get(panel.name) ?? 0) + 1);
    tell(panel.name);
  });
});

const wanted = () => tabOf(location.hash.slice(1)) ?? list.querySelector('[role="tab"]');
select(wanted());
addEventListener("hashchange", () => select(wanted()));
const minute = byId("first-minute");
if (minute) new FirstMinute(minute);
