"""Who has to be told that messages may be missing, and how."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from routing_app.core.cluster.losses import ANYWHERE
from routing_app.core.delivery.connection import Connection
from routing_app.core.delivery.publication import Publication

if TYPE_CHECKING:
    from routing_app.core.delivery.hub import Hub


def concerned(hub: Hub, until: float, concerns: Callable[[str], bool]) -> list[Connection]:
    """Connections that had subscribed by `until` to an address which a gap `concerns`, and whose missing
    messages no replay brings. Replays are begun, and the hooks told.
    """
    healed = _heal(hub, concerns)
    return [
        connection
        for connection in hub.connections()
        if any(
            at <= until and address not in healed and concerns(address)
            for address, at in connection.addresses.items()
        )
    ]


def tell_of_loss(hub: Hub, publication: Publication) -> int:
    """Another process has lost something on its way to the addresses of a publication: tell those who had
    subscribed to them by then; how many they are. What an address with history has lost is fetched.
    """
    if publication.message == ANYWHERE:
        return hub.tell_gap(publication.published_at)
    addresses, at = publication.addresses, publication.published_at
    healed = _heal(hub, addresses.__contains__)
    told = {one for address in addresses if address not in healed for one in hub.members(address, at)}
    for connection in told:
        connection.notify_gap()
    return len(told)


def tell_without_close(connections: Iterable[Connection]) -> None:
    """Tell those whose protocol can say it in a message; the others stay as they are."""
    for connection in connections:
        if connection.on_gap is not None:
            connection.on_gap()


def _heal(hub: Hub, concerns: Callable[[str], bool]) -> Collection[str]:
    """Tell the hooks of a gap, and have what is missing fetched: at these addresses, which have history."""
    for hook in hub.on_gap:
        hook()
    return hub.streams.order.check(concerns) if hub.streams is not None else ()
