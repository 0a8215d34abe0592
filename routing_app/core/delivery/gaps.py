"""Who has to be told that messages may be missing, and how."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from routing_app.core.delivery.connection import Connection


def concerned(
    connections: Iterable[Connection],
    until: float,
    concerns: Callable[[str], bool],
    healed: Collection[str],
) -> list[Connection]:
    """Those that had subscribed by `until` to an address which a gap `concerns`, and which is not healed."""
    return [
        connection
        for connection in connections
        if any(
            at <= until and address not in healed and concerns(address)
            for address, at in connection.addresses.items()
        )
    ]


def tell_without_close(connections: Iterable[Connection]) -> None:
    """Tell those whose protocol can say it in a message; the others stay as they are."""
    for connection in connections:
        if connection.on_gap is not None:
            connection.on_gap()
