"""The players' socket, `/?token=<session token>`."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs
from uuid import UUID

from django.conf import settings

from routing_app.core.access.admission import Refused
from routing_app.core.codes import (
    NORMAL,
    POLICY,
    REVOKED,
    SILENT,
    UNAUTHENTICATED,
    UNAVAILABLE,
    Close,
    Refusal,
)
from routing_app.core.consumer import Consumer
from routing_app.core.delivery.connection import ConnectionState
from routing_app.core.delivery.publication import Publication
from routing_app.core.revocations.names import Carried
from sessions_app import revocations, service, wire
from sessions_app.commands import End, Unbind
from sessions_app.coordinator import Coordinator
from sessions_app.heartbeat import PlayerHeartbeat
from sessions_app.models import EventKind
from sessions_app.session_tokens import BadToken, SessionToken, read
from sessions_app.store import AccountKey
from sessions_app.wire import Action, Malformed

if TYPE_CHECKING:
    from sessions_app.protocol import Sessions

logger = logging.getLogger(__name__)

MAX_MALFORMED_FRAMES: Final = 10
"""Malformed frames, until the connection is closed as abusive."""


class NoMessages:
    """Players receive the five actions only: a message that is published to them is left out."""

    per_address = False

    def __call__(self, publication: Publication, address: str) -> str | None:
        """Nothing."""
        return None


class SessionConsumer(Consumer):
    """One connection of a player."""

    protocol: Sessions
    _token: SessionToken
    _key: AccountKey
    _coordinator: Coordinator
    _heartbeat: PlayerHeartbeat
    bound_to: UUID | None = None
    _gone = False
    """The session does not live any more, and its id never comes back."""
    _asked_for = False
    """A bind was sent to the database, so the end of this connection has to be written, too."""
    _malformed_frames = 0
    _idle: asyncio.TimerHandle | None = None

    async def admit(self) -> str | None:
        """The token must be ours. One whose time is over gets in, to be told EXPIRED: a stock player that is
        refused here would try the same endpoint again and again."""
        query = parse_qs(self.scope["query_string"].decode("latin-1"))
        try:
            self._token = read((query.get("token") or [""])[-1])
        except BadToken:
            raise Refused(UNAUTHENTICATED) from None
        return None

    def own_identity(self) -> str:
        """The customer."""
        return f"sessions {self._token.publisher}/{self._token.customer}"

    async def opened(self) -> None:
        """Subscribe to the addresses of the session and its customer."""
        self._key = AccountKey(self._token.publisher, self._token.customer)
        self._gone = self._token.expired
        self._coordinator = self.protocol.coordinator
        self._coordinator.sockets[self.connection.id] = self
        self._heartbeat = PlayerHeartbeat(self._coordinator.timers, self._send_ping, self._player_is_dead)
        self.connection.identity = self.given.identity or self._token.customer
        await self.worker.hub.subscribe(self.connection, f"session:{self._token.session}", self._key.address)
        self.worker.presence.arrive(self.connection)
        self._wait_for_session()

    async def received(self, text: str) -> None:
        """One of the three actions; anything else is ignored, ten times."""
        self._coordinator.stop_if_lease_lapsed()
        if self.connection.state is not ConnectionState.OPEN:
            return
        try:
            action = wire.parse(text)
        except Malformed:
            self._malformed(Refusal.MALFORMED)
            return
        try:
            if action is Action.REQUESTED:
                await self._requested()
            elif action is Action.FINISHED:
                await self._finished()
            elif self.bound_to is not None:
                self._heartbeat.pong()
        except service.OUTAGE as error:
            logger.warning("sessions: %s on %s: %s", action, self.connection.id, type(error).__name__)
            self.refuse(Refusal.UNAVAILABLE)
            self.connection.close(UNAVAILABLE)

    async def received_bytes(self, data: bytes) -> None:
        """Binary frames are ignored, and counted, like others that are malformed."""
        self._malformed(Refusal.BINARY)

    async def _requested(self) -> None:
        if self.bound_to is not None:
            self.connection.send(wire.OK)
            return
        if not self._gone:
            self._asked_for = True
            id, worker = self.connection.id, self.worker.id
            bound = await service.bind(self._key, self._token.session, id, worker)
            if bound is not None:
                try:
                    self._start()
                finally:
                    # The former connection has lost the session, whether this one can be told OK or not.
                    if bound.replaced:
                        await service.terminate(bound.replaced)
                return
            self._gone = True
        self.connection.send(wire.EXPIRED)

    def _start(self) -> None:
        if not self._coordinator.lease_holds():  # this process was asleep after the commit
            raise service.LeaseLapsed
        if not self.connection.send(wire.OK):
            return
        self.bound_to = self._token.session
        self._heartbeat.start()
        if self._idle is not None:
            self._idle.cancel()

    async def _finished(self) -> None:
        if self._gone:
            return
        bound = self.bound_to is not None
        self._gone = True
        self.bound_to = None
        self._heartbeat.stop()
        self._wait_for_session()
        await service.finish(self._key, self._token.session, self.connection.id, bound)

    # --- liveness ----------------------------------------------------------------------------------------

    def ping(self) -> asyncio.Future[None]:
        """Coordinator: ask the player for a PONG; done when it has come."""
        return self._heartbeat.ask()

    def _send_ping(self) -> None:
        self.connection.send(wire.PING)

    def _player_is_dead(self) -> None:
        """PlayerHeartbeat: the player has answered no PING for long, so its slot is free."""
        self._coordinator.submit_nowait(service.give_up(self._key, self._token.session, self.connection.id))
        self.end(wire.TERMINATE, SILENT)

    # --- ending ------------------------------------------------------------------------------------------

    def end(self, text: str, close: Close) -> None:
        """Coordinator: the session is over for this connection."""
        self._gone = True
        self.bound_to = None
        self._heartbeat.stop()
        self.connection.send(text)
        self.connection.close(close)

    @property
    def carried(self) -> Carried:
        """Coordinator: the customer, by the token with which the session was made."""
        return revocations.carried(self._key, self._token.issued_at)

    def revoke(self) -> None:
        """Coordinator: the customer is revoked; its session has ended, for whatever socket has it."""
        ending = End(self._key, self._token.session, EventKind.KILLED, revocations.BY)
        self._coordinator.submit_nowait(ending)
        self.end(wire.take_over(service.OPERATOR), REVOKED)

    def closed(self) -> None:
        """Start the grace of the session, if it is still bound to this connection."""
        self._coordinator.sockets.pop(self.connection.id, None)
        self._heartbeat.close()
        if self._idle is not None:
            self._idle.cancel()
        if self._asked_for and not self._gone:
            self._coordinator.submit_nowait(Unbind(self._key, self._token.session, self.connection.id))

    def _malformed(self, reason: Refusal) -> None:
        self.refuse(reason)
        self._malformed_frames += 1
        if self._malformed_frames >= MAX_MALFORMED_FRAMES:
            self.connection.close(POLICY)

    def _wait_for_session(self) -> None:
        """Close after SESSIONS_IDLE_SECONDS without a session."""
        if self._idle is not None:
            self._idle.cancel()
        loop = asyncio.get_running_loop()
        self._idle = loop.call_later(settings.SESSIONS_IDLE_SECONDS, self.connection.close, NORMAL)
