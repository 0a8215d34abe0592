// All connections: filtered, sorted, a page at a time.

import { byId, element, path, setText } from "../dom.js";
import { number } from "../format.js";
import { Pager } from "../pager.js";
import { fromAddress, onFields, toAddress } from "../query.js";
import { CONNECTION_COLUMNS } from "../rows.js";
import { PROTOCOLS, dot, seriesOf } from "../series.js";
import { watch } from "../socket.js";
import { Table } from "../table.js";

const FILTERS = { search: "", protocol: "", identity: "", address: "", network: "", worker: "" };
const DEFAULTS = { ...FILTERS, sort: "age", descending: true, page: 1, size: 50 };
let params = fromAddress(DEFAULTS);

const form = byId("filters");
for (const name of PROTOCOLS) form.elements.protocol.append(element("option", { value: name }, name));
const fill = () => Object.keys(FILTERS).forEach((name) => (form.elements[name].value = params[name]));
fill();

const none = element("div", {}, element("p", {}, element("strong", {}, "No connection is here.")));
const hint = element("p", {});
none.append(hint);
const table = new Table(byId("list"), {
  caption: "Connections",
  columns: CONNECTION_COLUMNS,
  key: (row) => row.id,
  empty: none,
  sort: { by: params.sort, descending: params.descending },
  onSort: ({ by, descending }) => change({ sort: by, descending, page: 1 }),
});
const pager = new Pager(byId("pager"), (page) => change({ page }));
const watching = watch("connections", params, show, fail);
const chips = new Map();

onFields(form, (values) => change({ ...values, page: 1 }));
byId("clear").addEventListener("click", () => {
  params = { ...params, ...FILTERS };
  fill();
  change({ page: 1 });
});

function change(changed) {
  params = { ...params, ...changed };
  toAddress(params, DEFAULTS);
  watching.update(params);
}

function show(data) {
  byId("problem").replaceChildren();
  setText(document.querySelector('[data-total="connections"]'), number(data.count));
  table.show(data.rows);
  if (data.rows.length === 0) showHint();
  pager.show({ page: params.page, pages: data.pages, count: data.count }, "connection");
  showProtocols(data.by_protocol);
  if (data.missing?.length) warn(`Without an answer, and not counted here: worker ${data.missing.join(", ")}.`);
}

function showHint() {
  const filtered = Object.keys(FILTERS).some((name) => params[name]);
  const text = filtered ? "Nothing matches these fields. Clear them to see all." : "Clients that connect are listed here at once. ";
  hint.replaceChildren(text);
  if (!filtered) hint.append(element("a", { href: path("try/") }, "Open one from the page Try it."));
}

function showProtocols(counts) {
  for (const name of Object.keys(counts)) {
    if (chips.has(name)) continue;
    const count = element("strong", { "data-total": `connections.${name}` });
    chips.set(name, count);
    byId("by-protocol").append(element("span", { class: "named" }, dot(seriesOf(name)), `${name} `, count));
  }
  for (const [name, count] of chips) setText(count, number(counts[name] ?? 0));
}

function warn(text) {
  byId("problem").replaceChildren(element("p", { class: "notice warn" }, text));
}

function fail(error) {
  byId("problem").replaceChildren(element("p", { class: "notice bad" }, error.message));
}
