"""Notify sockets of the events protocol: from a walker, view, command, signal or shell, in any process.

Each function takes ids and any value with a JSON form, which the sockets get as it is, unwrapped. Unknown ids
are skipped; a repeated id is notified repeatedly. One without a JSON form raises TypeError, too large a one
TooLarge, and nobody is notified. In a process without sockets (a command, a shell, a task queue) REDIS_URL
must be set, as for several workers. On a running loop outside the server, call these through
`asgiref.sync.sync_to_async`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from routing_app.core.address import make
from routing_app.core.cluster import losses
from routing_app.core.delivery.publication import Publication
from routing_app.core.publishing import publish
from routing_app.core.streams.store import StoreUnavailable
from routing_app.core.synchronous import from_sync, on_a_loop
from routing_app.core.worker import current_worker
from routing_app.events.walker_context import largest_message, plain, running
from routing_app.events.wire import root_of


def notify_self(data: Any) -> None:
    """Notify the socket whose event runs this walker; nothing anywhere else."""
    call = running.get()
    if call is not None and call.client_id:
        notify_clients([call.client_id], data)


def notify_users(root_ids: Iterable[str], data: Any) -> None:
    """Notify all sockets of users, by `root_id`. Raises BadReference, and nobody is notified."""
    _notify([make("user", root) for root_id in root_ids if (root := root_of(root_id))], data)


def notify_channels(channel_ids: Iterable[str], data: Any) -> None:
    """Notify all sockets on channels, by `channel_id`."""
    _notify([make("channel", channel_id) for channel_id in channel_ids], data)


def notify_clients(client_ids: Iterable[str], data: Any) -> None:
    """Notify single sockets, by `client_id`."""
    _notify([make("client", client_id) for client_id in client_ids], data)


def _notify(addresses: Sequence[str], data: Any) -> None:
    message = plain(data, largest_message())
    if (call := running.get()) is not None:
        call.count_notifications(len(addresses))
    # On the serving loop nothing may wait, so the publications follow in this turn's order.
    if on_a_loop():
        hub = current_worker().hub
        for address in addresses:
            hub.publish_soon(Publication((address,), message))
    elif addresses:
        _publish_from_sync(addresses, message)


async def _publish(addresses: Sequence[str], message: Any) -> None:
    for address in addresses:
        try:
            await publish((address,), message)
        except StoreUnavailable:
            losses.count_store_down()


_publish_from_sync = from_sync(_publish)
