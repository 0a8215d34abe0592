// What has happened to sessions: numbers by hour or day, and the events themselves.

import { Buckets } from "../buckets.js";
import { byId, element } from "../dom.js";
import { moment } from "../format.js";
import { Listing, offer, query } from "../listing.js";
import { api, poll } from "../rest.js";
import { device, seconds, stream } from "./live.js";

const HOUR = 3600;
const RANGES = {
  day: { step: "hour", seconds: 24 * HOUR },
  week: { step: "hour", seconds: 7 * 24 * HOUR },
  month: { step: "day", seconds: 30 * 24 * HOUR },
};
const STEPS = { hour: HOUR, day: 24 * HOUR };
const LOOK_SECONDS = 10;
const COUNT_SECONDS = 60; // usage reads all events of its time
const KINDS = { denied: "bad", evicted: "warn", taken_over: "warn", killed: "warn", expired: "", finished: "good", created: "good" };

export class Past {
  constructor(filter) {
    this.filter = filter;
    this.peak = new Buckets(byId("chart-peak"), {
      title: "Most sessions at once", series: [{ name: "peak", label: "peak", series: 1 }],
    });
    this.counts = new Buckets(byId("chart-counts"), {
      title: "Created, denied, taken over",
      series: [
        { name: "created", label: "created", series: 4 },
        { name: "denied", label: "denied", series: 3 },
        { name: "taken_over", label: "taken over", series: 2 },
      ],
    });
    this.usage = poll(this.usagePath("sessions/usage"), COUNT_SECONDS, (answer) => this.showUsage(answer));
    this.beginAgain = setInterval(() => this.lookAtUsage(), COUNT_SECONDS * 1000); // until another time
    this.list = new Listing({
      target: byId("history"),
      pages: byId("history-pages"),
      label: "the history of sessions",
      words: ["event"],
      every: LOOK_SECONDS,
      size: 25,
      path: () => this.historyPath("sessions/history"),
      table: {
        key: (row) => row.key,
        empty: byId("nothing-happened").content.cloneNode(true),
        columns: [
          { title: "When", cell: (row) => moment(seconds(row.at)) },
          { title: "What", of: (row) => [row.kind], cell: kind },
          { title: "Customer", cell: (row) => row.customer, long: true },
          { title: "Name", cell: (row) => row.name || "–", long: true },
          { title: "Plays", cell: stream, long: true },
          { title: "Device", cell: device, long: true },
          { title: "Why", cell: (row) => row.why || "–", wrap: true },
          { title: "By", cell: (row) => row.by, long: true },
        ],
      },
      onData: ({ results }) => {
        number(results);
        byId("history-csv").href = new URL(this.historyPath("sessions/history/download"), api);
      },
    });
    for (const id of ["usage-publisher", "usage-range"]) byId(id).addEventListener("change", () => this.lookAtUsage());
    byId("history-kind").addEventListener("change", () => this.look());
  }

  offer(names) {
    offer(byId("usage-publisher"), names);
  }

  look() {
    this.list.look();
  }

  lookAtUsage() {
    this.usage.update(this.usagePath("sessions/usage"));
  }

  usagePath(path) {
    const range = RANGES[byId("usage-range").value];
    const now = Date.now() / 1000;
    const from = new Date((now - range.seconds + STEPS[range.step]) * 1000).toISOString();
    const to = new Date((now + 60) * 1000).toISOString(); // the clock here may be behind
    const asked = query(path, { publisher: byId("usage-publisher").value, from, to, step: range.step });
    if (path === "sessions/usage") byId("usage-csv").href = new URL(this.usagePath("sessions/usage/download"), api);
    return asked;
  }

  showUsage({ buckets, step }) {
    const now = Date.now() / 1000;
    const shown = buckets.map((one) => ({ ...one, from: seconds(one.from) })).filter((one) => one.from <= now);
    this.peak.show(shown, STEPS[step]);
    this.counts.show(shown, STEPS[step]);
  }

  historyPath(path) {
    const { connected, ...narrowed } = this.filter.values;
    const chosen = byId("history-kind").value;
    const wanted = chosen === "observed" ? { observed: "true" } : { kind: chosen };
    return query(path, { ...narrowed, ...wanted });
  }
}

function kind(row) {
  return element("span", { class: `badge ${KINDS[row.kind] ?? ""}` }, row.kind.replaceAll("_", " "));
}

// Events have no name of their own, and equal ones share an instant: `key` tells them apart.
function number(rows) {
  const seen = new Map();
  for (const row of rows) {
    const same = JSON.stringify([row.at, row.kind, row.id, row.customer, row.why]);
    seen.set(same, (seen.get(same) ?? 0) + 1);
    row.key = `${same} ${seen.get(same)}`;
  }
}
