// Limits of a publisher: how many customers have no room in each, and what one more session would get.

import { act, byId, element, setText } from "../dom.js";
import { number, since } from "../format.js";
import { offer as offerValues, query } from "../listing.js";
import { call, may, poll } from "../rest.js";
import { Table } from "../table.js";
import { narrowing, seconds } from "./live.js";

const LOOK_SECONDS = 60; // all sessions of a publisher are counted
const TOP = 12; // customers that are listed
const SCOPES = { account: "customer", offer: "offer", tag: "tag", content: "content", device_type: "type of device" };
const POLICIES = { block: "refuse", ask: "refuse, offer takeover", evict_oldest: "end the oldest" };

// "2 for each offer", "3 for offer film"
export function words({ scope, value, subject, maximum }) {
  if (scope === "account") return `${number(maximum)} for the customer`;
  const name = value || subject;
  return name ? `${number(maximum)} for ${SCOPES[scope]} ${name}` : `${number(maximum)} for each ${SCOPES[scope]}`;
}

export class Limits {
  constructor(filter, changes) {
    this.filter = filter;
    this.changes = changes;
    this.select = byId("limits-publisher");
    this.rows = [];
    this.counts = new Map();
    this.limits = new Table(byId("limits"), {
      caption: "Limits of the publisher",
      key: (row) => row.id,
      empty: byId("no-limits").content.cloneNode(true),
      columns: [
        { title: "Limit", cell: words, wrap: true },
        { title: "Of", cell: (row) => row.customer || "every customer", long: true },
        { title: "Then", cell: (row) => (row.observe_only ? "only note it" : POLICIES[row.policy]), wrap: true },
        { title: "Leaves no room", number: true, of: (row) => [this.counts.get(row.id)], cell: (row) => this.full(row) },
      ],
    });
    this.reached = new Table(byId("reached"), {
      caption: "Customers and the limits that they have reached",
      key: (row) => JSON.stringify([row.limit, row.customer, row.subject]),
      empty: byId("none-reached").content.cloneNode(true),
      columns: [
        { title: "Customer", of: (row) => [row.customer], cell: (row) => this.customer(row), long: true },
        { title: "Limit", cell: (row) => words(row), wrap: true },
        { title: "Plays", number: true, cell: (row) => `${number(row.held)} of ${number(row.maximum)}` },
        { title: "Denied in 24 h", number: true, cell: (row) => number(row.denied) },
      ],
    });
    this.select.addEventListener("change", () => this.look());
    byId("try").addEventListener("submit", (event) => this.ask(event));
    byId("change-limits").hidden = !may("limits");
  }

  get publisher() {
    return this.select.value;
  }

  offer(names) {
    offerValues(this.select, names);
    const wanted = this.filter.values.publisher;
    if (wanted && wanted !== this.followed) this.select.value = wanted;
    this.followed = wanted;
    if (this.publisher && this.publisher !== this.shown) this.look();
  }

  look() {
    this.shown = this.publisher;
    const base = `publishers/${encodeURIComponent(this.publisher)}/limits/`;
    byId("change-limits").href = query(byId("change-limits").dataset.admin, { q: this.publisher });
    this.polls?.forEach((one) => one.stop());
    this.polls = [poll(`${base}reached`, LOOK_SECONDS, (answer) => this.showReached(answer), undefined, this.changes)];
    if (may("limits")) this.polls.push(poll(`${base}?page_size=1000`, LOOK_SECONDS, (answer) => this.show(answer.results)));
    byId("limits").hidden = !may("limits");
    byId("answer").replaceChildren();
  }

  show(rows) {
    this.rows = rows;
    this.limits.show(rows);
  }

  showReached({ limits, customers }) {
    this.counts = new Map(limits.map(({ limit, reached }) => [limit, reached]));
    this.limits.show(this.rows);
    this.reached.show(customers.filter((one) => !one.observe_only).slice(0, TOP));
  }

  full(row) {
    const count = this.counts.get(row.id) ?? 0;
    return element("span", { class: `badge ${count ? "warn" : ""}`, "data-reached": String(row.id) }, count ? `for ${number(count)}` : "for nobody");
  }

  customer(row) {
    return narrowing(row.customer, `Only sessions of ${row.customer}`, () => {
      this.filter.set({ publisher: this.publisher, customer: row.customer });
      byId("try").elements.customer.value = row.customer;
    });
  }

  async ask(event) {
    event.preventDefault();
    const wanted = Object.fromEntries(new FormData(byId("try")));
    const base = `publishers/${encodeURIComponent(this.publisher)}/limits/`;
    const answer = await act(event.submitter ?? byId("try").lastElementChild, () => call("GET", query(`${base}try`, wanted)));
    if (answer) byId("answer").replaceChildren(...told(answer));
  }
}

function told(answer) {
  const facts = [element("p", {}, verdict(answer), ` ${reason(answer)}`)];
  if (answer.counted.length) facts.push(listed("It counts", answer.counted));
  if (answer.evicted.length) facts.push(listed("For it would end", answer.evicted));
  if (answer.again) facts.push(listed("The device gets again", [answer.again]));
  if (answer.limits.length) facts.push(pools(answer));
  else facts.push(element("p", { class: "soft" }, "No limit concerns it."));
  return facts;
}

function verdict({ enabled, allowed, evicted }) {
  if (!enabled) return badge("warn", "plays");
  if (!allowed) return badge("bad", "refused");
  return evicted.length ? badge("warn", "allowed, others end") : badge("good", "allowed");
}

function badge(kind, text) {
  return element("span", { class: `badge ${kind}` }, text);
}

function reason({ enabled, allowed, why, take_over: takeOver }) {
  if (!enabled) return "Tracking of this publisher is switched off: everybody plays.";
  if (allowed) return "";
  return `${why}; ${takeOver ? "a takeover is offered" : "no takeover is offered"}.`;
}

function listed(title, sessions) {
  const names = sessions.map((one) => element("li", { "data-session": one.id }, `${one.name}, for ${since(seconds(one.created_at))}`));
  return element("div", {}, element("h3", {}, title), element("ul", { class: "plain" }, ...names));
}

function pools({ limits, refused_by: refusedBy }) {
  const lines = limits.map((pool) => {
    const line = element("li", {}, `${words(pool)}: ${number(pool.held)} of ${number(pool.maximum)} `);
    if (pool.limit === refusedBy) line.append(badge("bad", "refuses"));
    else if (pool.full && pool.observe_only) line.append(badge("warn", "would refuse, only notes it"));
    else if (pool.full) line.append(badge("warn", "full"));
    return line;
  });
  return element("div", {}, element("h3", {}, "Limits that concern it"), element("ul", { class: "plain" }, ...lines));
}
