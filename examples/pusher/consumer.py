"""The socket at `/app/switchboard`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final

from examples.pusher import wire
from examples.pusher.wire import PusherEvent
from switchboard import MESSAGE, Consumer, Publication, Refusal, make_address

ACTIVITY_SECONDS: Final = 120
"""Silence after which a client pings."""
MAX_CHANNELS: Final = 100


class PusherEncoder:
    """A publication as an event of its channel."""

    per_address = True

    def __call__(self, publication: Publication, address: str) -> str | None:
        """The string of the frame; None for what is for other protocols."""
        kind, _, name = address.partition(":")
        if publication.event != MESSAGE or kind != "pusher":
            return None
        return wire.delivery(name, publication.message)


class PusherConsumer(Consumer):
    """One client of pusher-js."""

    async def opened(self) -> None:
        """Tell the client its id: two numbers with a point between them."""
        number = int(self.connection.id, 16)
        socket_id = f"{number % 10**9}.{number // 10**9 % 10**9}"
        self.connection.identity = socket_id
        self.worker.presence.arrive(self.connection)
        self.connection.send(wire.established(socket_id, ACTIVITY_SECONDS))

    async def received(self, text: str) -> None:
        """One event."""
        try:
            frame = wire.parse(text)
            act = self._actions.get(frame.event)
            if act is None:
                raise wire.BadFrame(f"{frame.event[:100]} is not taken here")
            await act(self, frame)
        except wire.BadFrame as malformed:
            self.refuse(Refusal.MALFORMED)
            self.connection.send(wire.error(str(malformed)))

    async def _subscribe(self, frame: PusherEvent) -> None:
        try:
            address = make_address("pusher", wire.check_channel(frame.channel))
            if len(self.connection.addresses) >= MAX_CHANNELS:
                raise wire.NoSuchChannel(f"at most {MAX_CHANNELS} channels a connection")
        except wire.NoSuchChannel as refused:
            self.refuse(Refusal.FORBIDDEN)
            self.connection.send(wire.not_subscribed(frame.channel, str(refused)))
            return
        await self.worker.hub.subscribe(self.connection, address)
        self.worker.presence.change(self.connection)
        self.connection.send(wire.subscribed(frame.channel))

    async def _unsubscribe(self, frame: PusherEvent) -> None:
        self.worker.hub.unsubscribe(self.connection, make_address("pusher", frame.channel))
        self.worker.presence.change(self.connection)

    async def _ping(self, frame: PusherEvent) -> None:
        self.connection.send(wire.PONG)

    _actions: ClassVar[dict[str, Callable[[PusherConsumer, PusherEvent], Awaitable[Any]]]] = {
        wire.SUBSCRIBE: _subscribe,
        wire.UNSUBSCRIBE: _unsubscribe,
        wire.PING: _ping,
    }
