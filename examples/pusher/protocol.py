"""The protocol object: this file is all that makes an app a protocol."""

from __future__ import annotations

from typing import ClassVar

from examples.pusher import wire
from examples.pusher.consumer import PusherConsumer, PusherEncoder
from switchboard import AddressError, AddressKind, Protocol


def channel_name(name: str) -> str:
    """The name as it is. Raises AddressError."""
    try:
        return wire.check_channel(name)
    except wire.NoSuchChannel as error:
        raise AddressError(f"a channel: {error}") from None


class Pusher(Protocol):
    """Public channels of Pusher; the app key is `switchboard`."""

    name = "pusher"
    label = "Pusher"
    console_panel = "console/pusher.html"
    default_origins = "*"
    sockets: ClassVar = {"/app/switchboard": PusherConsumer}
    addresses: ClassVar = {"pusher": AddressKind(check=channel_name)}
    encoder = PusherEncoder()
