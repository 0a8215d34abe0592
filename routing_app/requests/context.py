"""The argument of a handler: the message, the connection it came by, and for a request its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from routing_app.requests.errors import Answered
from routing_app.requests.wire import Direction, Inbound

if TYPE_CHECKING:
    from routing_app.requests.connection import Connection


class Context:
    """One message or request that a client sent."""

    __slots__ = ("_inbound", "answered", "connection")

    def __init__(self, connection: Connection, inbound: Inbound) -> None:
        self.connection = connection
        self.answered = inbound.direction is not Direction.REQUEST
        """True when nothing can be answered any more; always for a message."""
        self._inbound = inbound

    @property
    def message(self) -> dict[str, Any]:
        """The whole object that came, control fields included."""
        return self._inbound.message

    @property
    def type(self) -> str:
        """The type that chose the handler; "" for none."""
        return self._inbound.type

    async def reply(self, message: Mapping[str, Any] | None = None) -> None:
        """Send the reply. Raises Answered; TypeError or ValueError for a value that JSON cannot hold."""
        await self.connection.write(self._answer(message, Direction.REPLY))

    async def error(self, message: Mapping[str, Any] | None = None) -> None:
        """Send the final failure. Raises as `reply`."""
        await self.connection.write(self._answer(message, Direction.ERROR))

    async def partial(self, message: Mapping[str, Any] | None = None) -> None:
        """Send a piece of the answer; waits while the client does not read. Raises as `reply`."""
        await self.connection.write(self._answer(message, Direction.PARTIAL))

    def _answer(self, message: Mapping[str, Any] | None, direction: Direction) -> str:
        if self.answered:
            raise Answered("a request is answered once" if self.is_request else "a message has no answer")
        text = self.connection.codec.encode(message or {}, direction, self._inbound.key)
        self.answered = direction is not Direction.PARTIAL
        return text

    @property
    def is_request(self) -> bool:
        """True when the sender waits for an answer."""
        return self._inbound.direction is Direction.REQUEST
