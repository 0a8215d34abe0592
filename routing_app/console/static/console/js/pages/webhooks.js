// Webhooks with their deliveries: test, replay, switch on, rotate the secret.

import { act, byId, confirmed, element, setText, toast, unseen } from "../dom.js";
import { moment, number, plural, since } from "../format.js";
import { Filter, Listing, query } from "../listing.js";
import { call, may, poll } from "../rest.js";
import { shownOnce } from "../secret.js";

const seconds = (iso) => Date.parse(iso) / 1000;
const STATUS = { done: "good", failed: "bad", pending: "warn" };

let rows = [];
let states = new Map(); // id -> its deliveries by state
let deliveries = null;
const filter = new Filter(byId("filter"), () => choose());

const list = new Listing({
  target: byId("webhooks"),
  pages: byId("webhooks-pages"),
  label: "webhooks",
  words: ["webhook"],
  every: 2,
  path: () => "webhooks/",
  table: {
    key: (row) => row.id,
    empty: byId("no-webhooks").content.cloneNode(true),
    columns: [
      { title: "Name", of: (row) => [row.name], cell: naming, long: true },
      { title: "URL", cell: (row) => row.url, long: true },
      { title: "State", of: (row) => [row.enabled, row.off_because, row.failing_since], cell: state },
      { title: "Pending", number: true, cell: (row) => count(row, "pending") },
      { title: "Failed", number: true, cell: (row) => count(row, "failed") },
      { title: "Done", number: true, cell: (row) => count(row, "done") },
      { title: "Last answer", cell: (row) => answer(states.get(row.id)), long: true },
    ],
  },
  onData: ({ results }) => {
    rows = results;
    byId("trouble").replaceChildren();
    showOne();
  },
  onError: (error) => byId("trouble").replaceChildren(element("p", { class: "notice bad" }, error.message)),
});
poll("webhooks/states", 2, ({ webhooks }) => {
  states = new Map(webhooks.map((one) => [one.webhook, one]));
  if (rows.length) list.table.show(rows);
});

function count(row, name) {
  return number(states.get(row.id)?.[name]);
}

function answer(state) {
  if (!state || (state.last_status === null && !state.last_error)) return "–";
  return [state.last_status, state.last_error].filter((one) => one !== null && one !== "").join(": ");
}

function naming(row) {
  const open = () => filter.set({ webhook: String(row.id), status: "" });
  return element("button", { type: "button", class: "link-like", onclick: open }, row.name || `webhook ${row.id}`);
}

function state(row) {
  const badge = (kind, text) => element("span", { class: `badge ${kind}` }, text);
  if (!row.enabled) return row.off_because ? badge("bad", `switched off: ${row.off_because}`) : badge("", "off");
  return row.failing_since ? badge("warn", `failing for ${since(seconds(row.failing_since))}`) : badge("good", "on");
}

function chosen() {
  const id = filter.values.webhook;
  return rows.find((row) => String(row.id) === id);
}

// Another webhook, or other deliveries of it.
function choose() {
  showOne();
  if (chosen() && deliveries) deliveries.look();
}

function showOne() {
  const row = chosen();
  byId("one").hidden = row === undefined;
  for (const line of byId("webhooks").querySelectorAll("tbody tr")) line.toggleAttribute("data-chosen", line.dataset.key === filter.values.webhook);
  if (row === undefined) return;
  setText(byId("one-title"), row.name || `webhook ${row.id}`);
  byId("one-state").replaceChildren(state(row));
  for (const button of document.querySelectorAll("[data-act]")) button.hidden = !may(button.dataset.act);
  setText(byId("switch"), row.enabled ? "Switch off" : "Switch on");
  byId("change").href = `${byId("change").dataset.admin}${row.id}/change/`;
  showFacts(row);
  deliveries ??= listDeliveries();
}

function showFacts(row) {
  const facts = [
    ["URL", row.url],
    ["Events", row.events.join(", ")],
    ["Addresses", row.addresses.join(", ") || "all"],
    ["Headers", Object.keys(row.headers).join(", ") || "none of its own"],
    ["Made", moment(seconds(row.created_at))],
    ...(row.failing_since ? [["Failing since", moment(seconds(row.failing_since))]] : []),
  ];
  const shown = JSON.stringify(facts);
  if (byId("facts").dataset.shown === shown) return;
  byId("facts").dataset.shown = shown;
  byId("facts").replaceChildren(...facts.flatMap(([title, text]) => [element("dt", {}, title), element("dd", {}, text)]));
}

function listDeliveries() {
  return new Listing({
    target: byId("deliveries"),
    pages: byId("deliveries-pages"),
    label: "deliveries",
    words: ["delivery", "deliveries"],
    every: 2,
    size: 25,
    path: () => query(`webhooks/${chosen()?.id ?? 0}/deliveries`, { status: filter.values.status }),
    table: {
      key: (row) => row.id,
      empty: byId("no-deliveries").content.cloneNode(true),
      columns: [
        { title: "When", cell: (row) => moment(seconds(row.created_at)) },
        { title: "Event", cell: (row) => row.type },
        { title: "State", of: (row) => [row.status], cell: (row) => element("span", { class: `badge ${STATUS[row.status]}` }, row.status) },
        { title: "Attempts", number: true, cell: (row) => number(row.attempts) },
        { title: "Last answer", cell: answer, wrap: true },
        { title: "Next attempt", cell: (row) => (row.next_at ? moment(seconds(row.next_at)) : "–") },
        { title: "Id", of: (row) => [row.id], cell: (row) => element("code", { title: row.id }, `${row.id.slice(0, 12)}…`) },
        ...(may("change-webhook") ? [{ title: unseen("Act"), of: (row) => [row.id], cell: replaying }] : []),
      ],
    },
  });
}

function replaying(row) {
  const button = element("button", { type: "button", class: "quiet small", "aria-label": `Replay ${row.id}` }, "Replay");
  button.addEventListener("click", async () => {
    await act(button, () => call("POST", `deliveries/${row.id}/replay`), "It is delivered again");
    again();
  });
  return button;
}

function again() {
  list.again();
  deliveries?.again();
}

// An act on the chosen webhook, by the button that stands for it.
function onClick(id, work) {
  byId(id).addEventListener("click", async () => {
    const row = chosen();
    if (row) await work(row, byId(id));
    again();
  });
}

onClick("test", (row, button) => act(button, () => call("POST", `webhooks/${row.id}/test`), "A test is on its way; it is listed below"));

onClick("replay-all", async (row, button) => {
  const text = `All deliveries of ${row.name} that were given up begin from the first attempt on. Its receiver may get again what it has seen.`;
  if (!(await confirmed("Replay all that failed?", text, "Replay all"))) return;
  await act(button, () => call("POST", `webhooks/${row.id}/replay`), ({ replayed }) => `${plural(replayed, "delivery is", "deliveries are")} sent again`);
});

onClick("switch", async (row, button) => {
  const text = row.enabled ? "Nothing is sent to it until it is switched on again." : "What waits for it is sent now, and that it failed is forgotten.";
  const title = row.enabled ? "Switch off" : "Switch on";
  if (!(await confirmed(`${title} ${row.name}?`, text, title))) return;
  await act(button, () => call("PATCH", `webhooks/${row.id}/`, { enabled: !row.enabled }), "Done; it holds within 5 seconds");
});

onClick("rotate", async (row, button) => {
  const text = "Calls are signed with the new and the old secret for 24 hours; secrets before the old one end at once.";
  if (!(await confirmed(`Rotate the secret of ${row.name}?`, text, "Rotate"))) return;
  const made = await act(button, () => call("POST", `webhooks/${row.id}/rotate`));
  if (made) await shownOnce(`The new secret of ${row.name}`, made.secret, toast);
});
