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
const LOOK_SECONDS = 15;
const COUNT_SECONDS = 60;
const KINDS = { denied: "bad", evicted: "warn", taken_over: "warn", killed: "warn", expired: "", finished: "good", created: "good" };

export class Past {
  constructor(filter, changes) {
    this.filter = filter;
    this.buckets = []; // of `counted`
    this.counted = "";
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
    this.usage = poll(() => this.usagePath(), COUNT_SECONDS, (answer) => this.showUsage(answer));
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
      changes,
    });
    for (const id of ["usage-publisher", "usage-range"]) byId(id).addEventListener("change", () => this.usage.now());
    byId("history-kind").addEventListener("change", () => this.look());
  }

  offer(names) {
    offer(byId("usage-publisher"), names);
  }

  look() {
    this.list.look();
  }

  // All buckets of the range, later only the last two: the others are over, and nothing in them changes.
  usagePath() {
    const { step, seconds: length } = RANGES[byId("usage-range").value];
    const now = Date.now() / 1000;
    const wanted = { publisher: byId("usage-publisher").value, step };
    const until = iso(now + 60); // the clock here may be behind
    const whole = { ...wanted, from: iso(now - length + STEPS[step]), to: until };
    byId("usage-csv").href = new URL(query("sessions/usage/download", whole), api);
    const counted = JSON.stringify([wanted, length]);
    if (counted !== this.counted) this.buckets = [];
    this.counted = counted;
    const known = this.buckets.at(-2);
    const from = Math.max(known?.from ?? 0, now - length + STEPS[step]);
    return query("sessions/usage", { ...whole, from: iso(from) });
  }

  showUsage({ buckets, step }) {
    const now = Date.now() / 1000;
    const read = buckets.map((one) => ({ ...one, from: seconds(one.from) })).filter((one) => one.from <= now);
    const first = read[0]?.from ?? Infinity;
    const most = RANGES[byId("usage-range").value].seconds / STEPS[step];
    this.buckets = [...this.buckets.filter((one) => one.from < first), ...read].slice(-most);
    this.peak.show(this.buckets, STEPS[step]);
    this.counts.show(this.buckets, STEPS[step]);
  }

  historyPath(path) {
    const { connected, ...narrowed } = this.filter.values;
    const chosen = byId("history-kind").value;
    const wanted = chosen === "observed" ? { observed: "true" } : { kind: chosen };
    return query(path, { ...narrowed, ...wanted });
  }
}

function iso(at) {
  return new Date(at * 1000).toISOString();
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
