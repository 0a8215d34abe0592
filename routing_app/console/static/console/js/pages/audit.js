// The audit log: who did what.

import { byId, element } from "../dom.js";
import { moment } from "../format.js";
import { Filter, Listing, query } from "../listing.js";
import { api } from "../rest.js";

const LOOK_SECONDS = 5;
const KINDS = { user: "user", key: "key", token: "token", command: "command line", nobody: "no credential" };

const filter = new Filter(byId("filter"), () => list.look());
const list = new Listing({
  target: byId("entries"),
  pages: byId("entries-pages"),
  label: "the audit log",
  words: ["entry", "entries"],
  every: LOOK_SECONDS,
  path: () => path("audit/"),
  table: {
    key: (row) => row.id,
    empty: byId("no-entries").content.cloneNode(true),
    columns: [
      { title: "When", cell: (row) => moment(Date.parse(row.at) / 1000) },
      { title: "Who", of: (row) => [row.id], cell: who, long: true },
      { title: "What", of: (row) => [row.id], cell: (row) => narrowing("action", row.action) },
      { title: "Object", of: (row) => [row.id], cell: (row) => narrowing("target", row.target), long: true },
      { title: "Outcome", of: (row) => [row.outcome], cell: outcome },
      { title: "From", cell: (row) => row.network || "–" },
      { title: "Request", cell: (row) => row.request_id || "–", long: true },
    ],
  },
  onData: () => {
    byId("trouble").replaceChildren();
    byId("csv").href = new URL(path("audit/download"), api);
    byId("lines").href = new URL(path("audit/download", { as: "jsonl" }), api);
  },
  onError: (error) => byId("trouble").replaceChildren(element("p", { class: "notice bad" }, error.message)),
});

function path(below, more = {}) {
  const { since, until, ...exact } = filter.values;
  return query(below, { ...exact, since: utc(since), until: utc(until), ...more });
}

// "2026-11-29T06:00" here -> the same instant in UTC
function utc(local) {
  return local ? new Date(local).toISOString() : "";
}

function who(row) {
  const kind = element("span", { class: "badge" }, KINDS[row.actor_kind] ?? row.actor_kind);
  if (!row.actor) return kind;
  return element("span", { class: "named" }, kind, narrowing("actor", row.actor));
}

function narrowing(name, value) {
  if (!value) return element("span", {}, "–");
  const only = () => filter.set({ [name]: value });
  return element("button", { type: "button", class: "link-like", title: `Only ${value}`, onclick: only }, value);
}

function outcome(row) {
  const kind = row.outcome === "ok" ? "good" : row.outcome.startsWith("failed") ? "bad" : "warn";
  return element("span", { class: `badge ${kind}` }, row.outcome);
}
