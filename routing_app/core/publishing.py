"""Publish to addresses of any protocol: for `/api/publish`, the requests protocol, the admin, scripts."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from routing_app.core.address import AddressError, parse
from routing_app.core.codes import KICKED, Close
from routing_app.core.delivery.publication import MESSAGE, Publication
from routing_app.core.synchronous import from_sync
from routing_app.core.worker import Worker, current_worker

logger = logging.getLogger(__name__)


@dataclass(slots=True)  # never changed; `frozen` would take a microsecond for each
class Outcome:
    """`delivered_to`: connections that got it, None where other processes may have some as well."""

    delivered_to: int | None

    def as_json(self) -> dict[str, Any]:
        """`{"delivered_to": n}` where that is known, else `{"accepted": true}`."""
        return {"accepted": True} if self.delivered_to is None else {"delivered_to": self.delivered_to}

    def as_bytes(self) -> bytes:
        """The same as it goes to a client, without the 5 µs of a JSON encoder."""
        return (
            b'{"accepted": true}'
            if self.delivered_to is None
            else b'{"delivered_to": %d}' % self.delivered_to
        )


def check_addresses(addresses: Iterable[str]) -> tuple[str, ...]:
    """Distinct, publishable addresses in the order given. Raises AddressError, also for too many of them."""
    distinct = tuple(dict.fromkeys(map(parse, addresses)))
    if len(distinct) > settings.MAX_RECEIVERS:
        raise AddressError(f"at most {settings.MAX_RECEIVERS} addresses")
    return distinct


async def publish(
    addresses: Iterable[str], message: Any, event: str = MESSAGE, sender: str = "", exclude: str = ""
) -> Outcome:
    """Publish to checked addresses. Works in a server process and in any other (a script, a test)."""
    addresses = tuple(addresses)
    if not addresses:
        return Outcome(0)
    worker = current_worker()
    delivered = await worker.hub.publish(Publication(addresses, message, event, sender, exclude))
    return await _outcome(worker, delivered)


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


async def _outcome(worker: Worker, here: int) -> Outcome:
    """The count for the caller. A process that serves nobody sends what waits before its loop ends."""
    if not worker.serving:
        await worker.relay.settled()
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
