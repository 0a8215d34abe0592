"""`room:<namespace>/<id>`: the members of a room, plain and Socket.IO."""

from __future__ import annotations

from routing_app.core.address import AddressError
from routing_app.rooms.wire import NAMESPACES


def room_name(name: str) -> str:
    """The name as it is. Raises AddressError for one that no room can have."""
    namespace, _, room = name.partition("/")
    if namespace not in NAMESPACES or not room:
        raise AddressError("a room is written room:<layout|bus|lobby|trigger>/<id>")
    return name
