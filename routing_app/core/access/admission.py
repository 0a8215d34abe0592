"""The admission of a client and its departure: the same for a WebSocket and for a session of Engine.IO."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from routing_app.core import metrics
from routing_app.core.access import hosts, origin
from routing_app.core.codes import (
    CROWDED,
    INTERNAL,
    ORIGIN,
    RESTART,
    REVOKED,
    UNAVAILABLE,
    Close,
    Refusal,
    known_code,
)
from routing_app.core.delivery.connection import Connection, Peer
from routing_app.core.monitoring.counters import is_of_clients
from routing_app.core.rest.middleware import BACKING_SERVICES
from routing_app.core.worker import Worker

logger = logging.getLogger(__name__)


class Refused(Exception):
    """Raised by a handler: the client does not get what it wants.

    Before the accept the handshake is answered with 403, or with 503 where `close` asks to come back, and
    `close` says why in the log; later the connection is closed with it.
    """

    def __init__(self, close: Close, reason: Refusal = Refusal.FORBIDDEN) -> None:
        super().__init__(close.reason)
        self.close = close
        self.reason = reason


def check_origin(protocol: str, scope: Mapping[str, Any]) -> None:
    """Let a page of this origin use a protocol. Raises Refused, and logs the setting that would admit it."""
    values = [value for name, value in scope["headers"] if name == b"origin"]
    if not values:  # no browser sent it
        return
    page = values[-1].decode("latin-1")
    if not origin.allowed(page, hosts.own(scope), settings.ORIGINS[protocol]):
        logger.info("%s: origin refused; %s_ORIGINS would admit it", protocol, protocol.upper())
        raise Refused(ORIGIN, Refusal.ORIGIN)


def peer_of(scope: Mapping[str, Any]) -> Peer:
    """The other end of a scope."""
    client = scope.get("client") or ("", 0)
    return Peer(client[0] or "", client[1] or 0)


async def enter(worker: Worker, peer: Peer) -> None:
    """Take a seat in a worker that serves. Raises Refused, LayerUnavailable, StoreUnavailable, and what the
    database raises; then the seat is free again.
    """
    if not worker.seats.take(peer.host):
        raise Refused(CROWDED, Refusal.CROWDED)
    try:
        check_draining(worker)
        await worker.start()
        await worker.know_rows()
        await check_peer(worker, peer)
    except BaseException:
        worker.seats.leave(peer.host)
        raise


def check_draining(worker: Worker) -> None:
    """Raise Refused when the worker takes no more connections."""
    if worker.draining:
        raise Refused(RESTART, Refusal.UNAVAILABLE)


async def check_peer(worker: Worker, peer: Peer) -> None:
    """Raise Refused for a network that is revoked, and what the database raises."""
    if await worker.revocations.concern_peer(peer):
        raise Refused(REVOKED, Refusal.REVOKED)


async def check_connection(worker: Worker, connection: Connection) -> None:
    """Raise Refused for a connection that is revoked, by its network, its grant or a name of its protocol,
    and what the database raises.

    To be called once the hub knows the connection (`arrived`), and again after its names have changed: a
    revocation from here on finds it by itself.
    """
    if await worker.revocations.concern_connection(connection):
        raise Refused(REVOKED, Refusal.REVOKED)


def refused_by(protocol: str, error: Exception) -> Refused:
    """The meaning of a handler's exception for its client; an unknown one is logged."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, BACKING_SERVICES):
        logger.warning("%s: a backing service is down: %s", protocol, error)
        return Refused(UNAVAILABLE, Refusal.UNAVAILABLE)
    logger.error("%s: a handler failed", protocol, exc_info=error)
    return Refused(INTERNAL, Refusal.EXCEPTION)


def arrived(worker: Worker, connection: Connection) -> None:
    """Know and count a connection; `departed` undoes it."""
    worker.hub.add(connection)
    metrics.CONNECTIONS.labels(connection.protocol).inc()


def departed(
    worker: Worker, connection: Connection, close: Close, served: bool = True, code: int | None = None
) -> None:
    """Forget a connection everywhere, whichever end has closed it; `served`: it was open to its client.

    `code` is the client's own where that has closed it.
    """
    connection.mark_closed()
    if connection.follower is not None:
        connection.follower.departed(close.code if code is None else code)
    worker.grants.forget(connection)
    worker.hub.drop(connection)
    worker.presence.leave(connection, close.code if code is None else code)
    metrics.CONNECTIONS.labels(connection.protocol).dec()
    if served:
        metrics.CLOSED.labels(connection.protocol, close.name).inc()
        code = close.code if code is None else code
        metrics.CLOSE_CODES.labels(connection.protocol, known_code(code)).inc()
        if is_of_clients(connection.protocol):
            worker.monitor.closes.note(connection.peer.host, code, close.name, connection.protocol)
