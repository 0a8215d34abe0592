"""The plain sockets at `/layout`, `/bus`, `/lobby` and `/trigger`: the same events as JSON arrays."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import parse_qs

from django.conf import settings

from routing_app.core.access import credentials
from routing_app.core.access.admission import Refused
from routing_app.core.codes import POLICY, Refusal
from routing_app.core.consumer import Consumer
from routing_app.core.delivery.connection import Limits
from routing_app.rooms import lobby, service, wire
from routing_app.rooms.members import Member
from routing_app.rooms.membership import ignore


def _no_ack(*arguments: Any) -> None:
    """A plain frame has no place for an ack."""


class RoomConsumer(Consumer):
    """One client of a namespace."""

    namespace: ClassVar[str]

    _member: Member | None = None

    def max_message(self) -> int:
        """The same as over Socket.IO."""
        return int(settings.ROOMS_MAX_PAYLOAD)

    def limits(self) -> Limits:
        """A message of the largest size can be delivered."""
        return self.worker.limits.beside(settings.ROOMS_MAX_PAYLOAD)

    async def admit(self) -> str | None:
        """Know the client by its credential."""
        presented = credentials.of_scope(self.scope)
        self.grant = await credentials.grant_of(self.worker, self.protocol_name, presented)
        return None

    async def opened(self) -> None:
        """The client is in the namespace."""
        connection = self.connection
        self._member = Member(self.worker, connection, self.namespace, connection.id, self._emit)
        member = self._member
        self.worker.grants.hold(connection, self.grant, lambda: service.grant_changed(member))
        await service.enter(member)

    async def received(self, text: str) -> None:
        """A frame `[name, argument, ...]`."""
        assert self._member is not None
        try:
            name, arguments = wire.parse_frame(text)
        except wire.IgnoredEvent as ignored:
            ignore(self._member, str(ignored))
            return
        await service.take(self._member, name, arguments, _no_ack)

    def closed(self) -> None:
        """The connection has ended."""
        member, self._member = self._member, None  # it has this consumer's method: each would keep the other
        if member is not None:
            service.leave(member)

    def _emit(self, event: str, *arguments: Any) -> None:
        self.connection.send(wire.dump_frame([event, *arguments]))


class LayoutConsumer(RoomConsumer):
    """`/layout`."""

    namespace = wire.LAYOUT


class BusConsumer(RoomConsumer):
    """`/bus`."""

    namespace = wire.BUS


class TriggerConsumer(RoomConsumer):
    """`/trigger`."""

    namespace = wire.TRIGGER


class LobbyConsumer(RoomConsumer):
    """`/lobby?lobbyId=...`."""

    namespace = wire.LOBBY

    async def admit(self) -> str | None:
        """A client without a lobby is refused."""
        if self._lobby_id() is None:
            raise Refused(POLICY, Refusal.MALFORMED)
        return await super().admit()

    async def opened(self) -> None:
        """Join the lobby at once."""
        await super().opened()
        assert self._member is not None
        await lobby.connected(self._member, self._lobby_id())

    def _lobby_id(self) -> str | None:
        query = parse_qs(self.scope["query_string"].decode("latin-1"))
        values = query.get("lobbyId")
        return values[-1] if values else None
