// Every setting: its value, where it comes from, what it does, and what is unsafe about it.

import { byId, element } from "../dom.js";
import { plural } from "../format.js";
import { fromAddress, onFields, toAddress } from "../query.js";
import { ask } from "../socket.js";
import { Table } from "../table.js";

const DEFAULTS = { search: "", show: "" };
let params = fromAddress(DEFAULTS);
let all = [];
const form = byId("filters");
for (const name of Object.keys(DEFAULTS)) form.elements[name].value = params[name];

const table = new Table(byId("list"), {
  caption: "Settings",
  columns: [
    { title: "Setting", cell: (row) => element("code", {}, row.name), of: (row) => row.name, wrap: true },
    { title: "Value", cell: (row) => valueOf(row), of: (row) => row, wrap: true },
    { title: "From", cell: (row) => row.source },
    { title: "What it does", cell: (row) => row.help, wrap: true },
  ],
  key: (row) => row.name,
  empty: "No setting matches.",
});

ask("settings").then((rows) => {
  all = rows;
  showUnsafe();
  show();
}, (error) => byId("problem").replaceChildren(element("p", { class: "notice bad" }, error.message)));

onFields(form, (values) => {
  params = values;
  toAddress(params, DEFAULTS);
  show();
});

function valueOf(row) {
  const value = element("span", { "data-setting": row.name }, element("code", {}, row.value || "empty"));
  if (row.unsafe) value.append(" ", element("span", { class: "badge bad" }, "unsafe"));
  return value;
}

function showUnsafe() {
  const found = all.filter((row) => row.unsafe);
  const kind = found.length ? "notice warn" : "notice";
  const title = element("strong", {}, found.length ? `${plural(found.length, "setting lets", "settings let")} in more than may be meant` : "No setting is known to be unsafe.");
  if (found.length === 0) {
    byId("unsafe").replaceChildren(element("p", { class: kind }, title));
    return;
  }
  const list = element("dl", { class: "facts" }, ...found.flatMap((row) => [
    element("dt", {}, element("code", {}, row.name)),
    element("dd", {}, `${row.unsafe[0].toUpperCase()}${row.unsafe.slice(1)}: ${row.advice}.`),
  ]));
  byId("unsafe").replaceChildren(element("details", { class: kind }, element("summary", {}, title), list));
}

function show() {
  const words = params.search.trim().toLowerCase();
  table.show(all.filter((row) => {
    if (params.show === "set" && row.source === "default") return false;
    if (params.show === "unsafe" && !row.unsafe) return false;
    return !words || `${row.name} ${row.help}`.toLowerCase().includes(words);
  }));
}
