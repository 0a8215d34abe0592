// The subscriptions of a connection, and how far the messages of each have come.

import { batches, size } from "./wire.js";

/**
 * By address. A position is kept of those that recover, and goes on with each message.
 *
 * A message that a position says has come before is not new: a recovery may bring what the socket had brought
 * already.
 */
export class Subscriptions {
  constructor() {
    this._all = new Map();
  }

  /** Options by address. */
  get options() {
    return new Map([...this._all].map(([address, { options }]) => [address, options]));
  }

  /** The addresses whose messages are recovered. */
  get recovering() {
    return [...this._all].filter(([, { options }]) => options.recover).map(([address]) => address);
  }

  /** Forget addresses, and their positions. */
  remove(addresses) {
    addresses.forEach((address) => this._all.delete(address));
  }

  /**
   * The requests that subscribe to addresses, each within the server's bounds; `wanted` are options by address.
   * The `last` messages are asked for once, not again after a reconnect.
   */
  requests(wanted, again) {
    const kinds = new Map();
    for (const [address, { recover, last, notices }] of wanted) {
      const kind = { ...(last && !again && { last }), ...(notices && { notices: true }) };
      const name = JSON.stringify(kind);
      if (!kinds.has(name)) kinds.set(name, { kind, some: [] });
      const one = this._all.get(address);
      kinds.get(name).some.push({ address, place: recover && one && (one.came ?? one.began) });
    }
    return [...kinds.values()].flatMap(({ kind, some }) =>
      batches(some, ({ address, place }) => (place ? 2 * size(address) + size(place) : size(address))).map((batch) => {
        const since = batch.filter(({ place }) => place).map(({ address, place }) => [address, place]);
        const addresses = batch.map(({ address }) => address);
        return { type: "subscribe", addresses, ...(since.length && { since: Object.fromEntries(since) }), ...kind };
      }),
    );
  }

  /**
   * Take the reply to one of those requests. Of each address whose messages were to be recovered: the position
   * up to which all are on their way, or null.
   */
  take(request, wanted, again, reply) {
    const places = reply.positions ?? {};
    const outcomes = [];
    for (const address of request.addresses) {
      if (again && !this._all.has(address)) continue; // unsubscribed from since it was asked for
      if (!this._all.has(address)) this._all.set(address, { began: null, came: null });
      const one = this._all.get(address);
      if (!again) one.options = wanted.get(address);
      if (!one.options.recover) {
        one.began = one.came = null;
        continue;
      }
      const place = position(places[address]);
      if (request.since?.[address]) {
        // What was missed comes after this reply: the position that was asked for goes on with it.
        const recovered = place !== null && places[address].recovered === true;
        if (!recovered) Object.assign(one, { began: place, came: null });
        outcomes.push({ address, position: recovered ? place : null });
      } else {
        one.began = place;
        if (again) outcomes.push({ address, position: null });
      }
    }
    return outcomes;
  }

  /** Keep the positions of a delivery; false when it has come before. */
  isNew(delivery) {
    const known = [...positions(delivery)]
      .map(([address, place]) => ({ one: this._all.get(address), place }))
      .filter(({ one }) => one?.options.recover);
    // A message to several addresses is new where any of them has not got so far: streams of several stores
    // have no common order.
    const fresh = known.filter(({ one, place }) => !isPassed(place, one.came));
    for (const { one, place } of fresh) one.came = place;
    return fresh.length > 0 || !known.length;
  }
}

/** The positions of a delivery, by address. */
export function positions(message) {
  const given = Object.entries({ ...message.positions });
  const all = new Map(given.map(([address, value]) => [address, position(value)]));
  if (typeof message.address === "string" && !all.has(message.address)) all.set(message.address, position(message));
  return new Map([...all].filter(([, place]) => place));
}

/** The position in a field of the server; null where there is no history. */
function position(value) {
  const { epoch, offset } = value ?? {};
  return typeof epoch === "string" && epoch && Number.isSafeInteger(offset) ? { epoch, offset } : null;
}

function isPassed(place, came) {
  return came !== null && came.epoch === place.epoch && place.offset <= came.offset;
}
