// Hooks: what their questions came to on all workers, and which are left alone.

import { act, byId, confirmed, element, unseen } from "../dom.js";
import { number, plural } from "../format.js";
import { Listing } from "../listing.js";
import { call, may, poll } from "../rest.js";
import { Table } from "../table.js";

const OUTCOMES = ["allowed", "refused", "answered", "failed", "busy", "left_alone"];
let states = [];

const list = new Listing({
  target: byId("hooks"),
  pages: byId("hooks-pages"),
  label: "hooks",
  words: ["hook"],
  every: 2,
  path: () => "hooks/",
  table: {
    key: (row) => row.id,
    empty: byId("no-hooks").content.cloneNode(true),
    columns: [
      { title: "Asked on", cell: (row) => `${row.protocol === "*" ? "any protocol" : row.protocol}, ${row.on}` },
      { title: "Pattern", cell: (row) => row.pattern, long: true },
      { title: "URL", cell: (row) => row.url, long: true },
      { title: "State", of: (row) => [row.enabled, alone(row)], cell: state },
      { title: "If it fails", cell: (row) => `${row.fail === "open" ? "allow" : "refuse"}, after ${number(row.timeout)} ms` },
      ...OUTCOMES.map((outcome) => ({ title: words(outcome), number: true, cell: (row) => number(sum(row, outcome)) })),
      ...(may("change-hook") ? [{ title: unseen("Act"), of: (row) => [row.enabled], cell: switching }] : []),
    ],
  },
  onData: ({ count }) => {
    byId("trouble").replaceChildren();
    byId("workers-card").hidden = count === 0;
  },
  onError: (error) => byId("trouble").replaceChildren(element("p", { class: "notice bad" }, error.message)),
});
const workers = new Table(byId("workers"), {
  caption: "Hooks on each worker",
  key: (row) => `${row.hook} ${row.worker}`,
  empty: "No hook is on.",
  columns: [
    { title: "Hook", cell: (row) => `${row.hook}` },
    { title: "Worker", cell: (row) => row.worker },
    { title: "State", of: (row) => [row.left_alone], cell: (row) => breaker(row.left_alone) },
    ...OUTCOMES.map((outcome) => ({ title: words(outcome), number: true, cell: (row) => number(row.outcomes[outcome]) })),
  ],
});
poll("hooks/states", 2, ({ hooks }) => {
  states = hooks;
  workers.show(hooks);
});

function of(row) {
  return states.filter((one) => one.hook === row.id);
}

function sum(row, outcome) {
  return of(row).reduce((all, one) => all + one.outcomes[outcome], 0);
}

function alone(row) {
  return of(row).filter((one) => one.left_alone).length;
}

function words(outcome) {
  return outcome.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());
}

function breaker(leftAlone) {
  return element("span", { class: `badge ${leftAlone ? "bad" : "good"}` }, leftAlone ? "left alone" : "asked");
}

function state(row) {
  if (!row.enabled) return element("span", { class: "badge" }, "off");
  const count = alone(row);
  if (count === 0) return element("span", { class: "badge good" }, "on");
  return element("span", { class: "badge bad" }, `left alone by ${plural(count, "worker")}`);
}

function switching(row) {
  const title = row.enabled ? "Switch off" : "Switch on";
  const button = element("button", { type: "button", class: "quiet small", "aria-label": `${title} hook ${row.id}` }, title);
  button.addEventListener("click", async () => {
    const text = row.enabled ? "Its steps are taken without being asked." : "Its steps are asked about from now on.";
    if (!(await confirmed(`${title} the hook on ${row.on} at ${row.url}?`, text, title))) return;
    await act(button, () => call("PATCH", `hooks/${row.id}/`, { enabled: !row.enabled }), "Done; it holds within 5 seconds");
    list.again();
  });
  return button;
}
