"""Binary data as a frame of a WebSocket, in the form that a client reads, and as a packet of a poll."""

from __future__ import annotations

from typing import NamedTuple

from routing_app.core.delivery.frame import BinaryFrame, Frame
from routing_app.engineio import wire
from routing_app.engineio.wire import Packet


class Form(NamedTuple):
    """How binary data goes to a client over its WebSocket."""

    version: int
    text_only: bool
    """True for a client without binary frames: base64."""


class DataFrame(BinaryFrame):
    """Binary data; a poll takes it without the type byte of version 3."""

    __slots__ = ("packet",)

    def __init__(self, encoded: bytes, packet: bytes) -> None:
        super().__init__(encoded)
        self.packet = packet


class Base64Frame(Frame):
    """Binary data as a string; a poll takes the data itself, and encodes it as the payload needs it."""

    __slots__ = ("packet",)

    def __init__(self, encoded: str, packet: bytes) -> None:
        super().__init__(encoded)
        self.packet = packet


def data_frame(form: Form, data: bytes) -> Frame:
    """The frame of a binary message."""
    encoded = wire.encode_frame(form.version, data, form.text_only)
    return Base64Frame(encoded, data) if isinstance(encoded, str) else DataFrame(encoded, data)


def packet_of(frame: Frame) -> Packet:
    """The packet that a frame holds."""
    return frame.packet if isinstance(frame, DataFrame | Base64Frame) else frame.text
