"""Publish to addresses of any protocol: for `/api/publish`, the requests protocol, the admin, scripts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from json import dumps
from typing import Any

from routing_app.core.codes import KICKED, Close
from routing_app.core.delivery.publication import INTERNAL, MESSAGE, Position, Publication
from routing_app.core.publishable import check_addresses
from routing_app.core.synchronous import from_sync
from routing_app.core.worker import Worker, current_worker

logger = logging.getLogger(__name__)


@dataclass(slots=True)  # never changed; `frozen` would take a microsecond for each
class Outcome:
    """`delivered_to`: connections that got it, None where other processes may have some as well.

    `positions` are those of its addresses with history; `repeated`: its id had been published before.
    """

    delivered_to: int | None
    positions: Mapping[str, Position] = field(default_factory=dict)
    repeated: bool = False

    def as_json(self) -> dict[str, Any]:
        """`{"delivered_to": n}` where that is known, else `{"accepted": true}`; and what else there is."""
        answer: dict[str, Any] = (
            {"accepted": True} if self.delivered_to is None else {"delivered_to": self.delivered_to}
        )
        if self.positions:
            answer["positions"] = {one: position._asdict() for one, position in self.positions.items()}
        if self.repeated:
            answer["repeated"] = True
        return answer

    def as_bytes(self) -> bytes:
        """The same as it goes to a client; most of them without the 5 µs of a JSON encoder."""
        if self.positions or self.repeated:
            return dumps(self.as_json()).encode()
        return (
            b'{"accepted": true}'
            if self.delivered_to is None
            else b'{"delivered_to": %d}' % self.delivered_to
        )


async def publish(
    addresses: Iterable[str],
    message: Any,
    event: str = MESSAGE,
    sender: str = "",
    exclude: str = "",
    id: str = "",
    caller: str = "",
) -> Outcome:
    """Publish to checked addresses. Works in a server process and in any other (a script, a test).

    The same `id` of the same `caller` is published once. Raises StoreUnavailable where an address has
    history, or an `id` is given, and the store of streams does not answer; it, or what the database raises,
    where this process has not learnt yet which addresses have history and which webhooks there are.
    """
    addresses = tuple(addresses)
    if not addresses:
        return Outcome(0)
    worker = current_worker()
    if not event.startswith(INTERNAL):
        await worker.streams.freshen()
        watch = worker.webhook_watch
        if not (watch.keeps_fresh and watch.are_known):
            await watch.freshen()
    publication = Publication(addresses, message, event, sender, exclude)
    published = await worker.streams.publish(publication, id, caller)
    outcome = await _outcome(worker, published.delivered)
    return replace(outcome, positions=published.positions, repeated=published.repeated)


async def check_and_publish(
    addresses: Iterable[str], message: Any, event: str = MESSAGE, sender: str = "", exclude: str = ""
) -> Outcome:
    """Publish to addresses of any protocol, as `/api/publish` does: `switchboard.publish`.

    `message` is anything that JSON can hold. Raises AddressError for an address that cannot be published to,
    or for too many, and TypeError for a string in place of several addresses.
    """
    if isinstance(addresses, str):
        raise TypeError(f"expected several addresses, but got the string {addresses!r}")
    return await publish(check_addresses(addresses), message, event, sender, exclude)


async def disconnect(address: str, close: Close = KICKED) -> Outcome:
    """End every connection of an address, in every process."""
    return await disconnect_all((address,), close)


async def disconnect_all(addresses: Iterable[str], close: Close = KICKED) -> Outcome:
    """End every connection of many addresses; one small message each, however many there are."""
    worker = current_worker()
    closed = sum([await worker.hub.close(address, close) for address in addresses])
    return await _outcome(worker, closed)


async def disconnect_together(addresses: tuple[str, ...], close: Close) -> Outcome:
    """End every connection of some addresses; one that is subscribed to several counts once."""
    worker = current_worker()
    return await _outcome(worker, await worker.hub.close_all(addresses, close))


async def _outcome(worker: Worker, here: int) -> Outcome:
    """The count for the caller. A process that serves nobody sends what waits before its loop ends."""
    if not worker.serving:
        await worker.relay.settled()
        await worker.published.settled()
        if not worker.relay.reaches_others:
            logger.warning("nobody was reached: this process serves no clients, and REDIS_URL is not set")
    return Outcome(None if worker.relay.reaches_others else here)


publish_sync = from_sync(publish)
"""`publish` for synchronous code: views, admin actions, management commands, a shell."""

check_and_publish_sync = from_sync(check_and_publish)
"""`check_and_publish` for synchronous code: `switchboard.publish_sync`."""

disconnect_sync = from_sync(disconnect)
"""`disconnect` for synchronous code."""

disconnect_all_sync = from_sync(disconnect_all)
"""`disconnect_all` for synchronous code."""

disconnect_together_sync = from_sync(disconnect_together)
"""`disconnect_together` for synchronous code."""
