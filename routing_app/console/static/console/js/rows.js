// Columns of connections, the same in every list of them.

import { element, path } from "./dom.js";
import { bytes, number, since } from "./format.js";
import { protocolName } from "./series.js";

export const shortId = (id) => `${id.slice(0, 6)}…${id.slice(-6)}`;

export function connectionLink(id) {
  return element("a", { href: path(`connections/${encodeURIComponent(id)}/`), class: "mono", title: id }, shortId(id));
}

// An address that lets somebody in is masked for those that may not see it, and then leads nowhere.
export function addressLink(address) {
  if (/… \(\d+\)$/.test(address)) return element("span", { class: "mono" }, address);
  return element("a", { href: path("addresses/one/", { address }), class: "mono", title: address }, address);
}

export const CONNECTION_COLUMNS = [
  { title: "Connection", cell: (row) => connectionLink(row.id), of: (row) => row.id },
  { title: "Protocol", cell: (row) => protocolName(row.protocol), of: (row) => row.protocol },
  { title: "Identity", cell: (row) => row.identity || "–", long: true },
  { title: "Network address", cell: (row) => row.peer || "–" },
  { title: "Age", cell: (row) => since(row.since), number: true, sort: "age" },
  { title: "In", cell: (row) => number(row.received), number: true, sort: "received" },
  { title: "Bytes in", cell: (row) => bytes(row.received_bytes), number: true, sort: "received_bytes" },
  { title: "Out", cell: (row) => number(row.sent), number: true, sort: "sent" },
  { title: "Bytes out", cell: (row) => bytes(row.sent_bytes), number: true, sort: "sent_bytes" },
  { title: "Backlog", cell: (row) => bytes(row.backlog), number: true, sort: "backlog" },
  { title: "Addresses", cell: (row) => number(row.addresses), number: true },
  { title: "Worker", cell: (row) => row.worker.slice(0, 6) },
];
