// Addresses with subscribers: searched, sorted, a page at a time.

import { byId, element, path, setText } from "../dom.js";
import { number, perSecond } from "../format.js";
import { Pager } from "../pager.js";
import { fromAddress, onFields, toAddress } from "../query.js";
import { addressLink } from "../rows.js";
import { dot, seriesOf } from "../series.js";
import { watch } from "../socket.js";
import { Table } from "../table.js";

const FILTERS = { search: "", kind: "" };
const DEFAULTS = { ...FILTERS, sort: "subscribers", page: 1, size: 50 };
let params = fromAddress(DEFAULTS);
const form = byId("filters");
const fill = () => Object.keys(FILTERS).forEach((name) => (form.elements[name].value = params[name]));
fill();

const table = new Table(byId("list"), {
  caption: "Addresses",
  columns: [
    { title: "Address", cell: (row) => addressLink(row.address), of: (row) => row.address, long: true },
    { title: "Subscribers", cell: (row) => number(row.total), number: true, sort: "subscribers" },
    { title: "By protocol", cell: byProtocol, of: (row) => row.subscribers },
    { title: "Published", cell: (row) => number(row.published), number: true },
    { title: "Rate", cell: (row) => perSecond(row.rate), number: true, sort: "rate" },
  ],
  key: (row) => row.address,
  empty: element("div", {}, element("p", {}, element("strong", {}, "No address has subscribers here.")), element("p", {}, "Clients that join a room, register a token or subscribe make their addresses appear.")),
  sort: { by: params.sort, descending: true },
  onSort: ({ by }) => change({ sort: by, page: 1 }),
  oneWay: true,
});
const pager = new Pager(byId("pager"), (page) => change({ page }));
const watching = watch("addresses", params, show, (error) => {
  byId("problem").replaceChildren(element("p", { class: "notice bad" }, error.message));
});

onFields(form, (values) => change({ ...values, page: 1 }));
byId("clear").addEventListener("click", () => {
  params = { ...params, ...FILTERS };
  fill();
  change({ page: 1 });
});
byId("open").addEventListener("submit", (event) => {
  event.preventDefault();
  location.assign(path("addresses/one/", { address: byId("open").elements.address.value.trim() }));
});

function byProtocol(row) {
  const parts = Object.entries(row.subscribers).map(([name, count]) =>
    element("span", { class: "named" }, dot(seriesOf(name)), `${name} ${number(count)}`));
  return element("span", { class: "split" }, ...parts);
}

function change(changed) {
  params = { ...params, ...changed };
  toAddress(params, DEFAULTS);
  watching.update(params);
}

function show(data) {
  byId("problem").replaceChildren();
  if (!data.exact) {
    const text = "There are so many that the count may hold an address once for each worker: search for what you look for.";
    byId("problem").replaceChildren(element("p", { class: "notice" }, text));
  }
  setText(document.querySelector('[data-total="addresses"]'), number(data.count));
  table.show(data.rows);
  pager.show({ page: params.page, pages: data.pages, count: data.count }, "address", "addresses");
}
