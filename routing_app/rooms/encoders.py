"""Publications as members of a room read them, over Socket.IO 1.x to 4.x and over plain sockets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from routing_app.core.delivery.publication import MESSAGE, Publication
from routing_app.engineio.socketio import wire as socketio
from routing_app.engineio.socketio.socket import AttachedPacket
from routing_app.engineio.wire import MESSAGE as ENGINE_MESSAGE
from routing_app.rooms import wire
from routing_app.rooms.binary import as_bytes

API_SENDER: Final = "API"
"""Sender of a message that no client of this protocol sent."""


def arguments(publication: Publication, address: str) -> list[Any]:
    """`[event, argument, ...]`: an ordinary message is an EVENT, this protocol's own events keep their
    names."""
    if publication.event != MESSAGE:
        return [publication.event, *publication.message]
    # `room:<namespace>/<name>`; a message to one connection names its id, as if it were in a room of its own.
    kind, _, name = address.partition(":")
    room = name.partition("/")[2] if kind == "room" else name
    event = {"sender": publication.sender or API_SENDER, "room": room, "message": publication.message}
    return ["EVENT", event]


class SocketEncoder:
    """Engine.IO message, Socket.IO event. The string is the same for clients 1.x to 4.x."""

    per_address = True

    def __init__(self, namespace: str) -> None:
        self._namespace = "/" + namespace

    def __call__(self, publication: Publication, address: str) -> str | AttachedPacket:
        """The payload of the frame; a packet with attachments for a message with binary data."""
        if publication.binary:
            publication = replace(publication, message=as_bytes(publication.message, publication.binary))
        packet = socketio.event(self._namespace, *arguments(publication, address))
        return ENGINE_MESSAGE + packet if isinstance(packet, str) else AttachedPacket(packet)


class PlainEncoder:
    """`["EVENT", {...}]`."""

    per_address = True

    def __call__(self, publication: Publication, address: str) -> str | None:
        """The payload of the frame."""
        return wire.dump_frame(arguments(publication, address))


PLAIN: Final = PlainEncoder()
