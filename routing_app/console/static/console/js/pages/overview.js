// The overview: numbers, charts, events, health and workers, pushed every second.

import { Chart } from "../chart.js";
import { byId, element, path, setText } from "../dom.js";
import { bytes, number, perSecond, percent, plural, rate, seconds, time } from "../format.js";
import { PROTOCOLS, dot, seriesOf } from "../series.js";
import { watch } from "../socket.js";
import { Workers } from "../workers.js";

const EVENTS_SHOWN = 100;
const NOW = { publish_p50: seconds, publish_p99: seconds, outbox_bytes: bytes, lag: seconds };
const BAD = new Set(["worker_gone", "slow", "gap", "webhook_off", "redis_down", "database_down", "lost"]);
const WARN = new Set(["worker_drained", "loop_blocked"]);
const WORDS = { worker_joined: "joined", worker_gone: "gone", worker_drained: "drained", webhook_off: "webhook off" };

const ofProtocol = (name) => ({ name: `connections.${name}`, label: name, series: seriesOf(name) });
const charts = {
  connections: new Chart(byId("chart-connections"), {
    title: "Connections by protocol", series: PROTOCOLS.map(ofProtocol), format: number, least: 4, stacked: true,
  }),
  messages: new Chart(byId("chart-messages"), {
    title: "Messages per second",
    series: [
      { name: "received", label: "in", series: 4 },
      { name: "published", label: "published", series: 2 },
      { name: "delivered", label: "out", series: 1 },
    ],
    least: 4,
  }),
  publish: new Chart(byId("chart-publish"), {
    title: "Publish to written",
    series: [{ name: "publish_p50", label: "p50", series: 4 }, { name: "publish_p99", label: "p99", series: 3 }],
    format: seconds, least: 0.001,
  }),
  failures: new Chart(byId("chart-failures"), { title: "Lost and refused per second", series: [] }),
  backlog: new Chart(byId("chart-backlog"), {
    title: "Backlog of clients", series: [{ name: "outbox_bytes", label: "bytes", series: 1 }], format: bytes, least: 1024, binary: true,
  }),
  lag: new Chart(byId("chart-lag"), {
    title: "Event loop late by", series: [{ name: "lag", label: "latest", series: 3 }], format: seconds, least: 0.01,
  }),
  cpu: new Chart(byId("chart-cpu"), { title: "Processor by worker", series: [], format: percent, least: 0.1 }),
  memory: new Chart(byId("chart-memory"), { title: "Memory by worker", series: [], format: bytes, least: 2 ** 20, binary: true }),
};
const workers = new Workers(byId("workers"));
const protocols = new Map();
const reasons = new Map();

watch("overview", {}, show, (error) => {
  byId("troubles").replaceChildren(element("p", { class: "notice bad" }, error.message));
});

function show(data) {
  showNumbers(data);
  showProtocols(data);
  showCharts(data);
  showEvents(data.events);
  showHealth(data);
  workers.show(data.workers, data.at);
}

function showNumbers({ totals, rates, now, past }) {
  const sums = { ...totals, connections: sumOf(totals, "connections."), lost: sumOf(totals, "lost."), refused: sumOf(totals, "refused.") };
  for (const target of document.querySelectorAll("[data-total]")) {
    setText(target, number(sums[target.dataset.total] ?? 0));
  }
  for (const target of document.querySelectorAll("[data-rate]")) {
    setText(target, rate(rates[target.dataset.rate] ?? 0));
  }
  const latest = now ?? Object.fromEntries(Object.entries(past.series).map(([name, list]) => [name, list.at(-1)]));
  for (const target of document.querySelectorAll("[data-now]")) {
    setText(target, NOW[target.dataset.now](latest[target.dataset.now] ?? null));
  }
  showReasons("lost", totals, rates, sums.lost, "bad");
  showReasons("refused", totals, rates, sums.refused, "");
}

function sumOf(totals, prefix) {
  return Object.entries(totals).reduce((all, [name, value]) => (name.startsWith(prefix) ? all + value : all), 0);
}

// Each reason is an element of its own, made when it first occurs, so that its number can be found.
function showReasons(kind, totals, rates, sum, level) {
  const target = document.querySelector(`[data-reasons="${kind}"]`);
  for (const [name, value] of Object.entries(totals)) {
    if (!name.startsWith(`${kind}.`) || value === 0) continue;
    if (!reasons.has(name)) {
      if (!target.querySelector("[data-total]")) target.replaceChildren();
      const total = element("span", { "data-total": name });
      const now = element("span");
      reasons.set(name, { total, now });
      const words = name.slice(kind.length + 1).replaceAll("_", " ");
      target.append(element("span", { class: "reason" }, `${words} `, total, now));
    }
    const { total, now } = reasons.get(name);
    setText(total, number(value));
    setText(now, rates[name] > 0 ? ` (${perSecond(rates[name])})` : "");
  }
  byId(kind).dataset.level = sum > 0 ? level : "";
}

function showProtocols({ totals }) {
  const names = new Set(PROTOCOLS);
  for (const name of Object.keys(totals)) {
    if (name.startsWith("connections.")) names.add(name.slice("connections.".length));
  }
  for (const name of names) {
    if (!protocols.has(name)) {
      const count = element("strong", { "data-total": `connections.${name}` });
      protocols.set(name, count);
      const link = document.body.dataset.acts.split(" ").includes("connections") ? "a" : "span";
      const href = link === "a" ? path("connections/", { protocol: name }) : null;
      byId("protocols").append(element(link, { class: "named", href }, dot(seriesOf(name)), `${name} `, count));
    }
    setText(protocols.get(name), number(totals[`connections.${name}`] ?? 0));
  }
}

function showCharts({ at, now, past, totals, workers: all }) {
  const names = Object.keys(past ? past.series : now);
  charts.failures.show(failuresOf(totals));
  charts.cpu.show(ofWorkers("cpu", names, all));
  charts.memory.show(ofWorkers("memory", names, all));
  for (const chart of Object.values(charts)) {
    if (past) chart.reset(past);
    else chart.push(at, now);
  }
}

// Reasons that have occurred; a chart of 23 lines at 0 tells nothing.
function failuresOf(totals) {
  const found = Object.keys(totals).filter((name) => /^(lost|refused)\./.test(name) && totals[name] > 0);
  const shown = found.length ? found : ["lost.slow", "refused.forbidden"];
  return shown.sort().map((name, index) => ({
    name, label: name.replace(".", ": ").replaceAll("_", " "), series: (index % 8) + 1,
  }));
}

function ofWorkers(kind, names, all) {
  const hosts = new Map(all.map((worker) => [worker.id, `${worker.host}/${worker.pid}`]));
  return names
    .filter((name) => name.startsWith(`${kind}.`))
    .map((name) => name.slice(kind.length + 1))
    .filter((id) => hosts.has(id))
    .map((id, index) => ({ name: `${kind}.${id}`, label: hosts.get(id), series: (index % 8) + 1 }));
}

// A watch that begins again brings events that are shown already.
function showEvents(list) {
  for (const event of list) {
    const key = String(event.id ?? JSON.stringify([event.at, event.worker, event.kind, event.text]));
    const known = byId("events").querySelector(`[data-event="${CSS.escape(key)}"]`);
    if (known) known.remove();
    const kind = BAD.has(event.kind) ? "bad" : WARN.has(event.kind) ? "warn" : "";
    const words = WORDS[event.kind] ?? event.kind.replaceAll("_", " ");
    const times = event.count > 1 ? ` × ${number(event.count)}` : "";
    const line = element(
      "li",
      { "data-event": key, "data-kind": event.kind },
      element("time", { datetime: new Date(event.at * 1000).toISOString() }, time(event.at)),
      element("span", { class: `badge ${kind}` }, words),
      element("span", {}, `${event.text}${times}`),
      element("span", { class: "soft mono", title: event.worker }, (event.worker ?? "").slice(0, 6)),
    );
    line.dataset.at = event.at;
    const after = [...byId("events").children].find((other) => Number(other.dataset.at) <= event.at);
    byId("events").insertBefore(line, after ?? null);
  }
  while (byId("events").children.length > EVENTS_SHOWN) byId("events").lastElementChild.remove();
  byId("no-events").hidden = byId("events").children.length > 0;
}

function showHealth({ health, webhooks }) {
  const troubles = [];
  const facts = [];
  const state = (title, ok, words) => {
    facts.push([title, ok, words]);
    if (!ok) troubles.push(`${title}: ${words}`);
  };
  if (health.redis.length === 0) facts.push(["Redis", true, "not used: one process, in memory"]);
  for (const { server, ok } of health.redis) state(`Redis ${server + 1}`, ok, ok ? "answers" : "does not answer");
  state("Database", health.database.ok, health.database.ok ? "answers" : "does not answer");
  const pool = health.database.pool;
  if (pool) facts.push(["Pool", true, `${number(pool.used)} used, ${number(pool.idle)} idle, ${number(pool.waiting)} waiting`]);
  if (webhooks) {
    facts.push(["Webhooks", true, `${plural(webhooks.pending, "delivery waits", "deliveries wait")}`]);
    for (const name of webhooks.off) state(`Webhook ${name}`, false, "switched off by the server, since it failed too long");
  }
  const shown = JSON.stringify(facts);
  if (byId("health").dataset.shown === shown) return;
  byId("health").dataset.shown = shown;
  byId("health").replaceChildren(...facts.flatMap(([title, ok, words]) => [
    element("dt", {}, title),
    element("dd", {}, element("span", { class: ok ? "" : "bad" }, words)),
  ]));
  byId("troubles").replaceChildren(...troubles.map((text) => element("p", { class: "notice bad" }, text)));
}
