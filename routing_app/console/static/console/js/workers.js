// Cards of workers, on the overview and on their own page.

import { element, setText } from "./dom.js";
import { age, bytes, number, percent, seconds } from "./format.js";

const STATES = {
  serving: ["good", "serving"],
  draining: ["warn", "draining"],
  gone: ["bad", "gone"],
};
const LATE_LEASE = 10; // seconds; a lease is renewed every 5 and ends after 15

const FACTS = [
  ["Connections", (worker) => number(sum(worker.connections))],
  ["Processor", (worker) => percent(worker.cpu)],
  ["Memory", (worker) => bytes(worker.memory)],
  ["Received", (worker) => number(worker.received)],
  ["Published", (worker) => number(worker.published)],
  ["Delivered", (worker) => number(worker.delivered)],
  ["Backlog", (worker) => bytes(worker.outbox_bytes)],
  ["Loop late by", (worker) => seconds(worker.lag)],
  ["Lease renewed", (worker) => `${age(worker.lease_age)} ago`],
];

export class Workers {
  // more(worker): what a card shows beneath its numbers, made once; heading: the element of its title
  constructor(target, more = () => null, heading = "h3") {
    this.heading = heading;
    this.target = target;
    this.more = more;
    this.cards = new Map();
  }

  show(workers, at) {
    const seen = new Set(workers.map((worker) => worker.id));
    for (const [id, card] of this.cards) {
      if (seen.has(id)) continue;
      card.root.remove();
      this.cards.delete(id);
    }
    for (const worker of workers) {
      if (!this.cards.has(worker.id)) this.cards.set(worker.id, this.make(worker));
      this.fill(this.cards.get(worker.id), worker, at);
    }
  }

  make(worker) {
    const badge = element("span", { class: "badge" });
    const about = element("p", { class: "soft" });
    const values = FACTS.map(() => element("dd"));
    const pairs = FACTS.map(([title], index) => element("div", {}, element("dt", {}, title), values[index]));
    const root = element(
      "article",
      { class: "card worker", "data-worker": worker.id },
      element("header", {}, element(this.heading, {}, `${worker.host} `, element("span", { class: "soft" }, `pid ${worker.pid}`)), badge),
      element("dl", { class: "pairs" }, ...pairs),
      about,
      this.more(worker),
    );
    this.target.append(root);
    return { root, badge, about, values };
  }

  fill(card, worker, at) {
    const [kind, words] = STATES[worker.state] ?? ["", worker.state];
    card.root.dataset.state = worker.state;
    card.badge.className = `badge ${kind}`;
    setText(card.badge, words);
    FACTS.forEach(([, show], index) => setText(card.values[index], show(worker)));
    card.values[8].className = worker.lease_age > LATE_LEASE ? "bad" : "";
    const about = [worker.version && `version ${worker.version}`, worker.state !== "gone" && `up for ${age(at - worker.started_at)}`, `id ${worker.id}`];
    setText(card.about, about.filter(Boolean).join(", "));
  }
}

export function sum(counts) {
  return Object.values(counts).reduce((all, one) => all + one, 0);
}
