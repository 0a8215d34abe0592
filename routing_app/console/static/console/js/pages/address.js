// One address: its subscribers, its rule, its stream, and a box to publish.

import { act, byId, confirmed, element, path, setText } from "../dom.js";
import { age, moment, number, perSecond, plural } from "../format.js";
import { MessageBox } from "../message.js";
import { call, may } from "../rest.js";
import { CONNECTION_COLUMNS } from "../rows.js";
import { watch } from "../socket.js";
import { Table } from "../table.js";

const address = byId("address").textContent;

const messages = new Table(byId("messages"), {
  caption: "Messages that are kept",
  columns: [
    { title: "Offset", cell: (row) => number(row.offset), number: true },
    { title: "When", cell: (row) => moment(row.at) },
    { title: "Message", cell: (row) => element("pre", {}, row.shown), of: (row) => row.shown, wrap: true },
  ],
  key: (row) => `${row.epoch} ${row.offset}`,
  empty: element("div", {}, element("p", {}, element("strong", {}, "Nothing is kept of this address.")), element("p", {}, "A rule of addresses gives it history: in the admin, under Address rules.")),
});
const subscribers = new Table(byId("subscribers"), {
  caption: "Subscribers",
  columns: CONNECTION_COLUMNS.map((column) => ({ ...column, sort: undefined })),
  key: (row) => row.id,
  empty: "Nobody is subscribed to it now.",
});

if (may("publish")) {
  new MessageBox(byId("publish"), {
    label: `Message to ${address}`,
    button: "Publish",
    send: (message) => call("POST", "publish", { addresses: [address], message }),
    done: (answer) => ("delivered_to" in answer ? `Published: ${plural(answer.delivered_to, "client")} got it.` : "Published to all workers."),
  });
} else {
  byId("publish").append(element("p", { class: "soft" }, "Your account does not have the permission core.publish."));
}
const link = (title, href) => byId("acts").append(element("a", { class: "button quiet", href }, title));
if (may("connections")) link("All subscribers", path("connections/", { address }));
if (may("trace")) link("Trace", path("trace/", { kind: "address", value: address }));
if (may("disconnect")) {
  const button = element("button", { type: "button", class: "danger quiet" }, "Disconnect all");
  button.addEventListener("click", async () => {
    const text = "Every client that is subscribed to it is closed with 4003, on every worker.";
    if (await confirmed(`Disconnect all of ${address}?`, text, "Disconnect all")) {
      await act(button, () => call("POST", "disconnect", { addresses: [address] }), "Disconnected.");
    }
  });
  byId("acts").append(button);
}

watch("address", { address }, show, (error) => {
  byId("problem").replaceChildren(element("p", { class: "notice bad" }, error.message));
});

function show(data) {
  byId("problem").replaceChildren();
  const { stream, rule } = data;
  setText(document.querySelector('[data-total="subscribers"]'), number(data.total));
  setText(byId("by-protocol"), Object.entries(data.subscribers).map(([name, count]) => `${name} ${number(count)}`).join(", ") || "nobody");
  setText(document.querySelector('[data-rate="published"]'), perSecond(data.rate));
  setText(document.querySelector('[data-total="published"]'), number(data.published));
  setText(document.querySelector('[data-total="kept"]'), number(stream ? stream.kept : 0));
  setText(document.querySelector('[data-now="offset"]'), stream ? number(stream.offset) : "–");
  setText(byId("epoch"), stream ? `last offset, epoch ${stream.epoch}` : "no stream");
  setText(byId("rule"), rule ? ruleText(rule) : "no rule keeps any");
  messages.show((stream?.messages ?? []).map((one) => ({ ...one, epoch: stream.epoch, shown: bodyOf(one) })));
  subscribers.show(data.connections);
}

function ruleText(rule) {
  const kept = rule.history_size ? `of ${number(rule.history_size)} messages, ${age(rule.history_seconds)}` : "keeps none";
  return rule.notices ? `${kept}; tells who comes and goes` : kept;
}

function bodyOf(one) {
  if (!may("messages")) return "hidden: needs core.view_messages";
  return typeof one.message === "string" ? one.message : JSON.stringify(one.message);
}
