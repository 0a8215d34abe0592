"""The use cases: create, take over, bind, end, heartbeat, list. Each says what it did after the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import DateTimeField, ExpressionWrapper, F, QuerySet
from django.db.models.functions import Coalesce, Greatest

from routing_app.core.codes import KICKED, SILENT, TAKEN_OVER, TERMINATED, Close
from routing_app.core.database import Overloaded, query
from routing_app.core.leases import reach
from routing_app.core.publishing import publish
from routing_app.core.standstill import Within
from routing_app.core.synchronous import from_sync
from routing_app.core.worker import LayerUnavailable
from sessions_app import wire
from sessions_app.commands import (
    Bind,
    Bound,
    Create,
    End,
    Granted,
    HttpHeartbeat,
    Lapsed,
    LimitReached,
    Listing,
    NoSuchPublisher,
    NoSuchSession,
    TakeoverOff,
)
from sessions_app.coordinator import DATABASE_TIMEOUT_SECONDS, PING, current_coordinator, end_connection
from sessions_app.models import EventKind, Publisher, Session, SessionEvent
from sessions_app.store import SERVER, AccountKey


class LeaseLapsed(Exception):
    """This worker cannot renew its lease, so it binds nothing."""


OUTAGE: Final = (OperationalError, InterfaceError, Overloaded, LayerUnavailable, TimeoutError, LeaseLapsed)
"""Exceptions of this module when the database or the channel layer is out."""
KILLED_AT_ONCE: Final = 100
"""Sessions that an operator ends in one transaction, so that creates do not wait long behind it."""
OPERATOR: Final = "operator"
"""The session name that a player sees whose session an operator ended."""

Outcome = Granted | LimitReached | NoSuchSession | TakeoverOff | NoSuchPublisher


async def create(key: AccountKey, wanted: wire.Wanted, victims: Sequence[UUID] | None = None) -> Outcome:
    """Take a slot for `wanted`, in place of `victims` if it is a takeover. Raises OUTAGE.

    At a limit the players that count are probed first, and the silent ones end. Once it is granted, players
    that had to make room are told, and all others are asked for a PONG ("Server Side Messages", PING).
    """
    coordinator = current_coordinator()
    taken = None if victims is None else tuple(victims)
    probe_first = settings.SESSIONS_PROBE_SECONDS > 0
    outcome: Outcome = await coordinator.submit(Create(key, wanted, taken, probe_first=probe_first))
    if probe_first and isinstance(outcome, LimitReached):
        asked = {listing.id: listing.connection for listing in outcome.counted if listing.connection}
        if asked:
            silent = await coordinator.probe(asked.values())
            # Anything may have changed since the first decision. The second ends a silent session only if it
            # is still bound to the connection that was probed.
            gone = {id: connection for id, connection in asked.items() if connection in silent}
            outcome = await coordinator.submit(Create(key, wanted, taken, silent=gone))
            await _stop(gone.values(), wire.TERMINATE, SILENT)
    if isinstance(outcome, Granted):
        displaced = [listing.connection for listing in outcome.ended if listing.connection]
        await _stop(displaced, wire.take_over(outcome.session.stream.display_name), TAKEN_OVER)
        if outcome.others:
            await publish((key.address,), None, event=PING)
    return outcome


async def _stop(connections: Iterable[str], text: str, close: Close) -> None:
    for connection in connections:
        await end_connection(connection, text, close)


async def bind(key: AccountKey, session: UUID, connection: str, worker: str) -> Bound | None:
    """Tie a session to a connection; None when it does not live. Raises OUTAGE.

    A worker whose lease has lapsed, because it could not reach the database for a while, renews it first.
    """
    coordinator = current_coordinator()
    if not coordinator.lease_holds():
        # Also at the start: the worker's row may be seen before the worker knows that it is written.
        await coordinator.worker.presence.renew()
    bind = Bind(key, session, connection, worker)
    bound: Bound | Lapsed | None = await coordinator.submit(bind)
    if isinstance(bound, Lapsed) and await coordinator.worker.presence.renew():
        bound = await coordinator.submit(bind)
    if isinstance(bound, Lapsed):
        raise LeaseLapsed
    return bound


async def terminate(connection: str) -> None:
    """Tell a connection that its session is bound to another one now."""
    await end_connection(connection, wire.TERMINATE, TERMINATED)


async def finish(key: AccountKey, session: UUID, connection: str, bound: bool) -> bool:
    """FINISHED from `connection`: the slot is free. False when the session does not live, or when a
    connection that was `bound` to it has lost it to another. Raises OUTAGE.
    """
    only_if_bound_to = connection if bound else ""
    command = End(key, session, EventKind.FINISHED, "player", connection=only_if_bound_to)
    ended: Listing | None = await current_coordinator().submit(command)
    if ended is not None and ended.connection not in ("", connection):
        await terminate(ended.connection)
    return ended is not None


def give_up(key: AccountKey, session: UUID, connection: str) -> End:
    """The command that ends the session of a player which answers no PING."""
    return End(key, session, EventKind.EXPIRED, SERVER, "no PONG", connection)


async def end_own(key: AccountKey, session: UUID) -> bool:
    """A customer ends a session of its own. False when there is no such session. Raises OUTAGE."""
    ended: Listing | None = await current_coordinator().submit(
        End(key, session, EventKind.FINISHED, "customer")
    )
    if ended is not None and ended.connection:
        await terminate(ended.connection)
    return ended is not None


async def kill(sessions: Iterable[tuple[AccountKey, UUID]], operator: str, close: Close = KICKED) -> int:
    """An operator ends sessions, many in a transaction; how many lived. Raises OUTAGE."""
    coordinator = current_coordinator()
    commands = [End(key, session, EventKind.KILLED, operator) for key, session in sessions]
    killed = 0
    for start in range(0, len(commands), KILLED_AT_ONCE):
        some = commands[start : start + KILLED_AT_ONCE]
        outcomes: list[Listing | None] = await asyncio.gather(*map(coordinator.submit, some))
        ended = [listing for listing in outcomes if listing is not None]
        killed += len(ended)
        connections = [listing.connection for listing in ended if listing.connection]
        await _stop(connections, wire.take_over(OPERATOR), close)
    return killed


kill_sync = from_sync(kill)
"""`kill` for synchronous code: the admin and operators' REST."""


def operators_view() -> QuerySet[Session]:
    """Live sessions with publisher, customer and worker, oldest first, each with two times of the clock on
    the wall: `last_seen_at`, of a bound one the last time at which its worker renewed its lease, and
    `ends_at`, None of a bound one. Uses the ORM."""
    renewed = Coalesce(F("worker__renewed_at"), F("seen_at"), F("created_at"))
    seen = Greatest(renewed, Coalesce(F("seen_at"), F("created_at")))
    times = reach.read()
    ends = ExpressionWrapper(F("expires_at") + (times.now - times.reached), DateTimeField())
    rows = Session.objects.live(times).select_related("account__publisher", "worker")
    return rows.annotate(last_seen_at=seen, ends_at=ends)


def history() -> QuerySet[SessionEvent]:
    """What has happened to sessions, the newest first, with publisher and customer."""
    return SessionEvent.objects.select_related("account__publisher")


def has_publisher(name: str) -> bool:
    """True when there is a publisher of that name. Uses the ORM."""
    return Publisher.objects.filter(name=name).exists()


async def heartbeat(key: AccountKey, session: UUID) -> datetime | None:
    """A heartbeat over HTTP; when the next is due at the latest, None without such a session."""
    deadline: datetime | None = await current_coordinator().submit(HttpHeartbeat(key, session))
    return deadline


async def live_sessions(key: AccountKey) -> list[Listing]:
    """A customer's sessions, oldest first. Raises OUTAGE."""
    async with Within(DATABASE_TIMEOUT_SECONDS):
        return await query(_live_sessions, key)


def _live_sessions(key: AccountKey) -> list[Listing]:
    mine = Session.objects.live().filter(
        account__publisher__name=key.publisher, account__customer=key.customer
    )
    return [Listing.of(session) for session in mine]
