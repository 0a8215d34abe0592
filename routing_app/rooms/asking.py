"""Operators' requests and messages to one member: `/api/connections/<id>/request` and `/send`."""

from __future__ import annotations

from typing import Any, Final

from routing_app.core.askable import ClientGone
from routing_app.core.codes import NORMAL, Close
from routing_app.core.delivery.connection import ConnectionState
from routing_app.rooms import binary
from routing_app.rooms.encoders import API_SENDER
from routing_app.rooms.members import Member

REQUEST: Final = "REQUEST"
"""Event that asks a Socket.IO client; its argument is the message, and the ack is the answer."""


class AskableMember:
    """A member as `core.askable` wants it."""

    def __init__(self, member: Member) -> None:
        self._member = member

    async def request(self, message: Any, timeout: float | None) -> dict[str, Any]:
        """`{"arguments": [...]}`: the arguments of the ack, buffers as `{"_base64": "..."}`."""
        if self._member.ask is None:
            raise ValueError("a plain socket of rooms has no acknowledgements")
        arguments = await self._member.ask(REQUEST, message, timeout=timeout)
        binary.as_json(arguments)
        return {"arguments": arguments}

    def send(self, message: Any) -> None:
        """An EVENT, as a publication to `connection:<id>` is one."""
        connection = self._member.connection
        if connection.state is not ConnectionState.OPEN:
            raise ClientGone(connection.close_sent or NORMAL)
        self._member.emit("EVENT", {"sender": API_SENDER, "room": connection.id, "message": message})

    def close(self, close: Close) -> None:
        """End its connection."""
        self._member.connection.close(close)

    @property
    def idle(self) -> bool:
        """True when nothing waits for it."""
        return self._member.connection.idle
