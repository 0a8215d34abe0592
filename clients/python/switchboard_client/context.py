"""The argument of a handler: the message, the connection it came by, and for a request its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from switchboard_client import wire
from switchboard_client.errors import Answered

if TYPE_CHECKING:
    from switchboard_client.connection import Connection


class Context:
    """One message or request that the server sent."""

    def __init__(self, connection: Connection, direction: str, message: dict[str, Any]) -> None:
        self.connection = connection
        self.message = message
        self.type = wire.name(message.get("type"))
        self.is_request = direction == "REQUEST"
        self.answered = not self.is_request
        """True when nothing can be answered any more; always for a message."""

    async def reply(self, message: Mapping[str, Any] | None = None) -> None:
        """Send the reply. Raises Answered or ConnectionClosed."""
        await self._answer(message or {}, "REPLY")

    async def error(self, message: Mapping[str, Any] | None = None) -> None:
        """Send the final failure. Raises Answered or ConnectionClosed."""
        await self._answer(message or {}, "ERROR")

    async def partial(self, message: Mapping[str, Any] | None = None) -> None:
        """Send a piece of the answer. Raises Answered or ConnectionClosed."""
        await self._answer(message or {}, "PARTIAL")

    async def _answer(self, message: Mapping[str, Any], direction: str) -> None:
        if self.answered:
            raise Answered("a request is answered once" if self.is_request else "a message has no answer")
        text = wire.encode_answer(message, direction, self.message)
        self.answered = direction != "PARTIAL"
        await self.connection.write(text)
