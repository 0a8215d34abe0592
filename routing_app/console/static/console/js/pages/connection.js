// One connection: who it is, what goes in and out, and what can be done with it.

import { act, byId, confirmed, element, path, setText } from "../dom.js";
import { age, bytes, moment, number } from "../format.js";
import { MessageBox } from "../message.js";
import { call, may } from "../rest.js";
import { addressLink } from "../rows.js";
import { protocolName } from "../series.js";
import { watch } from "../socket.js";
import { Table } from "../table.js";

const id = byId("connection").dataset.id;
const address = `connection:${id}`;
const NAMES = { subject: "its subject", jti: "its access token", token: "its token", key: "its API key", network: "its network address" };
let last = null;

const subscriptions = new Table(byId("subscriptions"), {
  caption: "Subscriptions",
  columns: [{ title: "Address", cell: (row) => addressLink(row.address), of: (row) => row.address }],
  key: (row) => row.address,
  empty: "It is subscribed to no address but its own.",
});
const closes = new Table(byId("closes"), {
  caption: "Last ends of connections in its network",
  columns: [
    { title: "When", cell: (row) => moment(row.at) },
    { title: "Code", cell: (row) => String(row.code), number: true },
    { title: "Name", cell: (row) => (row.name || "–").replaceAll("_", " ") },
    { title: "Protocol", cell: (row) => protocolName(row.protocol), of: (row) => row.protocol },
  ],
  key: (row) => row.key,
  empty: "No connection from there has ended since the workers started.",
});

if (may("publish")) {
  new MessageBox(byId("send"), {
    label: `Message to ${address}`,
    button: "Send",
    send: (message) => call("POST", "publish", { addresses: [address], message }),
    done: (answer) => (answer.delivered_to === 0 ? "Sent, but the client got nothing: it has gone." : "Sent."),
  });
} else {
  byId("send").append(element("p", { class: "soft" }, "Your account does not have the permission core.publish."));
}

const buttons = [];
let revoking = null;
if (may("trace")) byId("acts").append(element("a", { class: "button quiet", href: path("trace/", { kind: "connection", value: id }) }, "Trace"));
if (may("revoke")) revoking = add("Revoke …", revoke);
if (may("disconnect")) add("Disconnect", disconnect);

function add(title, work) {
  const button = element("button", { type: "button", class: "danger quiet", "data-act": work.name }, title);
  button.addEventListener("click", () => work(button));
  byId("acts").append(button);
  buttons.push(button);
  return button;
}

async function disconnect(button) {
  const text = "The client is closed with 4003, disconnected by an operator, and is to stay away. It can connect again.";
  if (await confirmed("Disconnect this client?", text, "Disconnect")) {
    await act(button, () => call("POST", "disconnect", { addresses: [address] }), "Disconnected.");
  }
}

async function revoke(button) {
  if (last === null) return;
  const names = last.revocable;
  const choice = element("select", { name: "what" });
  names.forEach(({ kind, value }, place) => choice.append(element("option", { value: String(place) }, `${NAMES[kind]}, ${value}`)));
  const reason = element("input", { name: "reason", placeholder: "for the audit log" });
  const extra = [element("label", {}, "Revoke ", choice), element("label", {}, "Reason ", reason)];
  const text = "Connections that carry this name are closed with 4008 on every worker, and let in no more until the revocation is lifted in the admin. A network stands for all who come from there, operators and proxies, too.";
  if (!(await confirmed("Revoke and end?", text, "Revoke", extra))) return;
  const { kind, value } = names[Number(choice.value)];
  await act(button, () => call("POST", "revocations/", { [kind]: value, reason: reason.value }), "Revoked.");
}

watch("connection", { id }, show, (error) => {
  if (error.status === 404) ended();
  else byId("problem").replaceChildren(element("p", { class: "notice bad" }, error.message));
});

function ended() {
  byId("state").className = "badge bad";
  setText(byId("state"), "ended");
  for (const button of buttons) button.disabled = true;
  const text = last === null ? "There is no such connection: it has ended, or never was." : "This connection has ended. The numbers below are its last.";
  byId("problem").replaceChildren(element("p", { class: "notice warn" }, `${text} `, element("a", { href: path("connections/") }, "All connections")));
}

function show(data) {
  last = data;
  byId("problem").replaceChildren();
  if (revoking !== null) revoking.hidden = data.revocable.length === 0;
  byId("state").className = "badge good";
  setText(byId("state"), "connected");
  const shown = {
    received: number(data.received), received_bytes: bytes(data.received_bytes),
    sent: number(data.sent), sent_bytes: bytes(data.sent_bytes),
    backlog: bytes(data.backlog), since: moment(data.since), age: age(Date.now() / 1000 - data.since),
  };
  for (const target of document.querySelectorAll("[data-total], [data-now]")) {
    setText(target, shown[target.dataset.total ?? target.dataset.now]);
  }
  showFacts(data);
  subscriptions.show(data.subscriptions.map((one) => ({ address: one })));
  closes.show([...data.closes].reverse().map((one, index) => ({ ...one, key: `${one.at} ${one.code} ${index}` })));
}

function showFacts(data) {
  const { kind, name, expires } = data.grant;
  const facts = [
    ["Protocol", protocolName(data.protocol)],
    ["Identity", data.identity || "none"],
    ["Credential", kind === "nobody" ? "none" : `${kind}${name ? ` ${name}` : ""}${expires ? `, until ${moment(expires)}` : ""}`],
    ["Network address", element("a", { href: path("connections/", { network: data.peer.replace(/:\d+$/, "") }) }, data.peer || "unknown")],
    ["User agent", data.user_agent || "none sent"],
    ["Worker", element("a", { href: path("connections/", { worker: data.worker }) }, data.worker)],
    ["Subscriptions", number(data.addresses)],
  ];
  const mark = JSON.stringify([data.protocol, data.identity, data.grant, data.peer, data.user_agent, data.addresses]);
  if (byId("facts").dataset.shown === mark) return;
  byId("facts").dataset.shown = mark;
  byId("facts").replaceChildren(...facts.flatMap(([title, value]) => [element("dt", {}, title), element("dd", {}, value)]));
}
