// Sessions that hold a slot now, and their end.

import { act, byId, confirmed, element, setText, unseen } from "../dom.js";
import { plural, since } from "../format.js";
import { Listing, query } from "../listing.js";
import { api, call, may } from "../rest.js";

export const seconds = (iso) => Date.parse(iso) / 1000;

// What plays: the offer, or the tag, and the content.
export function stream(row) {
  const of = row.offer_id || `tag ${row.tag}`;
  return row.content_id ? `${of} · ${row.content_id}` : of;
}

export function device(row) {
  return [row.device_name, row.device_type].filter(Boolean).join(" · ") || "–";
}

// A button in a cell that narrows the page to this value.
export function narrowing(text, title, onclick) {
  return element("button", { type: "button", class: "link-like", title, onclick }, text);
}

export class Live {
  constructor(filter, changes) {
    this.filter = filter;
    this.list = new Listing({
      target: byId("live"),
      pages: byId("live-pages"),
      label: "sessions that play now",
      words: ["session"],
      every: 5, // where something changes all the time; else at once
      size: 20,
      path: () => query("sessions/", this.filter.values),
      table: {
        key: (row) => row.id,
        empty: byId("nobody-plays").content.cloneNode(true),
        columns: [
          { title: "Customer", of: (row) => [row.publisher, row.customer], cell: (row) => this.customer(row), long: true },
          { title: "Publisher", cell: (row) => row.publisher },
          { title: "Name", cell: (row) => row.name || "–", long: true },
          { title: "Plays", cell: stream, long: true },
          { title: "Device", cell: device, long: true },
          { title: "Since", cell: (row) => since(seconds(row.created_at)), number: true },
          { title: "Player", of: (row) => [row.connection, left(row)], cell: state },
          ...(may("end-session")
            ? [{ title: unseen("Act"), of: (row) => [row.id], cell: (row) => this.end(row) }]
            : []),
        ],
      },
      onData: (answer) => this.note(answer),
      changes,
    });
    byId("end-all").addEventListener("click", () => this.endAll());
  }

  look() {
    this.list.look();
  }

  note({ count, results }) {
    this.count = count;
    byId("live-csv").href = new URL(query("sessions/download", this.filter.values), api);
    const { customer, publisher } = this.filter.values;
    const publishers = new Set(results.map((row) => row.publisher));
    this.publisher = publisher || (publishers.size === 1 ? [...publishers][0] : "");
    byId("end-all").hidden = !may("end-session") || !customer || !this.publisher || count === 0;
    setText(byId("end-all"), `End all of ${customer}`);
  }

  customer(row) {
    const only = () => this.filter.set({ publisher: row.publisher, customer: row.customer });
    return narrowing(row.customer, `Only sessions of ${row.customer}`, only);
  }

  end(row) {
    const button = element("button", { type: "button", class: "danger quiet small", "aria-label": `End ${row.name || stream(row)} of ${row.customer}` }, "End");
    button.addEventListener("click", async () => {
      const what = `${row.name || stream(row)} of ${row.customer}`;
      const text = "Its slot is free at once, and its player is told to stop and closed with 4003. The customer may begin another session.";
      if (!(await confirmed(`End ${what}?`, text, "End the session"))) return;
      await act(button, () => call("DELETE", `sessions/${row.id}/`), `${what} has ended`);
      this.list.again();
    });
    return button;
  }

  async endAll() {
    const { customer } = this.filter.values;
    const publisher = this.publisher;
    const text = `${plural(this.count, "session")} of ${customer} at ${publisher}, whatever the other filters say: slots are free at once, and players are told to stop and closed with 4003.`;
    if (!(await confirmed(`End all that ${customer} plays?`, text, "End all"))) return;
    const work = () => call("POST", "sessions/end", { publisher, customer });
    await act(byId("end-all"), work, ({ ended }) => `${plural(ended, "session")} of ${customer} ended`);
    this.list.again();
  }
}

function left(row) {
  return row.expires_at === null ? "" : since(Date.now() / 1000, seconds(row.expires_at));
}

function state(row) {
  if (row.connection) return element("span", { class: "badge good", title: `worker ${row.worker}` }, "connected");
  const words = row.bound_at === null ? "has not come yet" : "away";
  return element("span", { class: "badge warn" }, `${words}, ends in ${left(row)}`);
}
