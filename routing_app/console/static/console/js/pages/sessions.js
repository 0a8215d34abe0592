// Sessions: who plays now, what limits would say, what has happened.

import { Changes } from "../changes.js";
import { byId, element, setText } from "../dom.js";
import { number, plural } from "../format.js";
import { Filter, offer } from "../listing.js";
import { may, poll } from "../rest.js";
import { Limits } from "../sessions/limits.js";
import { Live } from "../sessions/live.js";
import { Past } from "../sessions/past.js";

const TILES = 8; // of publishers, the largest

const changes = new Changes("sessions");
const tiles = new Map(); // publisher -> its numbers
const filter = new Filter(byId("live-filter"), () => {
  live.look();
  past?.look();
});
const live = new Live(filter, changes);
const limits = new Limits(filter, changes);
const past = may("session-history") ? new Past(filter, changes) : null;
byId("past").hidden = past === null;

poll("sessions/totals", 10, showTotals, showTrouble, changes);

function showTrouble(error) {
  byId("trouble").replaceChildren(element("p", { class: "notice bad" }, error.message));
}

function showTotals({ publishers }) {
  byId("trouble").replaceChildren();
  const names = publishers.map((one) => one.publisher);
  byId("no-publishers").hidden = names.length > 0;
  offer(byId("live-filter").elements.publisher, names);
  limits.offer(names);
  past?.offer(names);
  const largest = [...publishers].sort((one, other) => other.sessions - one.sessions).slice(0, TILES);
  const shown = new Set(largest.map((one) => one.publisher));
  for (const [name, tile] of tiles) {
    if (shown.has(name)) continue;
    tile.root.remove();
    tiles.delete(name);
  }
  for (const one of publishers.filter(({ publisher }) => shown.has(publisher))) {
    if (!tiles.has(one.publisher)) tiles.set(one.publisher, tileOf(one.publisher));
    const { sessions, under } = tiles.get(one.publisher);
    setText(sessions, number(one.sessions));
    setText(under, `of ${plural(one.customers, "customer")}; ${number(one.connected)} connected`);
  }
}

function tileOf(publisher) {
  const sessions = element("p", { class: "big num", "data-sessions": publisher });
  const under = element("p", { class: "under" });
  const root = element("div", { class: "card tile" }, element("h2", {}, publisher), sessions, under);
  byId("totals").append(root);
  return { root, sessions, under };
}
