// Messages that wait for their time, and their withdrawal.

import { act, byId, confirmed, element, unseen } from "../dom.js";
import { moment, since } from "../format.js";
import { Listing } from "../listing.js";
import { call, may } from "../rest.js";

const seconds = (iso) => Date.parse(iso) / 1000;

const list = new Listing({
  target: byId("messages"),
  pages: byId("messages-pages"),
  label: "messages that wait",
  words: ["message"],
  every: 2,
  path: () => "scheduled/",
  table: {
    key: (row) => row.id,
    empty: byId("no-messages").content.cloneNode(true),
    columns: [
      { title: "At", cell: (row) => moment(seconds(row.at)) },
      { title: "In", number: true, cell: (row) => since(Date.now() / 1000, seconds(row.at)) },
      { title: "Addresses", cell: (row) => row.addresses.join(", "), wrap: true },
      { title: "Message", cell: message, long: true },
      { title: "From", cell: (row) => row.sender || "–", long: true },
      { title: "Publish id", cell: (row) => row.publish_id || "–", long: true },
      ...(may("withdraw") ? [{ title: unseen("Act"), of: (row) => [row.id], cell: withdrawal }] : []),
    ],
  },
  onData: () => byId("trouble").replaceChildren(),
  onError: (error) => byId("trouble").replaceChildren(element("p", { class: "notice bad" }, error.message)),
});

// The body is there for who may view messages.
function message(row) {
  return "message" in row ? JSON.stringify(row.message) : "not shown to you";
}

function withdrawal(row) {
  const button = element("button", { type: "button", class: "danger quiet small", "aria-label": `Withdraw the message to ${row.addresses.join(", ")}` }, "Withdraw");
  button.addEventListener("click", async () => {
    const text = `It was to be sent to ${row.addresses.join(", ")} at ${moment(seconds(row.at))}.`;
    if (!(await confirmed("Withdraw this message?", text, "Withdraw"))) return;
    await act(button, () => call("DELETE", `scheduled/${row.id}/`), "The message is withdrawn");
    list.again();
  });
  return button;
}
