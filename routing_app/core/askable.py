"""A client that operators can ask and send to by the id of its connection, in whatever protocol it speaks."""

from __future__ import annotations

from typing import Any, Protocol

from routing_app.core.codes import Close


class ClientGone(ConnectionError):
    """The connection has ended before the answer."""

    def __init__(self, close: Close) -> None:
        super().__init__(close.reason)
        self.close = close


class TooManyAsked(RuntimeError):
    """So many requests wait for this client that it is asked no more."""


class Askable(Protocol):
    """A connection of this process; `Protocol.askable` of its protocol finds it."""

    async def request(self, message: Any, timeout: float | None) -> dict[str, Any]:
        """Ask, and return the answer as an object that JSON can hold.

        Raises TimeoutError, ClientGone, TooManyAsked, and ValueError where the client has no way to answer.
        """

    def send(self, message: Any) -> None:
        """Send a message as the protocol's clients read one. Raises ClientGone."""

    def close(self, close: Close) -> None:
        """End the connection."""

    @property
    def idle(self) -> bool:
        """True when nothing waits to be sent to the client."""
