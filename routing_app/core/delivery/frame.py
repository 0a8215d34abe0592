"""Frames, built once per process however many connections they go to."""

from __future__ import annotations

from struct import pack
from typing import Any, Final, Protocol


def text_frame(payload: bytes) -> bytes:
    """An unmasked, unfragmented server text frame (RFC 6455, section 5.2)."""
    return _frame(0x81, payload)


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return pack("!BB", first, size) + payload
    if size < 65536:
        return pack("!BBH", first, 126, size) + payload
    return pack("!BBQ", first, 127, size) + payload


SHORT: Final = tuple(bytes((0x81, size)) for size in range(126))
"""Headers of text frames, by the size of a payload that needs no longer one."""


class Compressor(Protocol):
    """Compresses frames for one client."""

    window_bits: int
    """Clients with the same number get the same bytes; 0: a client that gets no compressed frames."""

    def compressed(self, frame: bytes) -> bytes:
        """A frame in its compressed form, or as it is."""


class Frame:
    """One outbound text message, with its bytes on the wire made on first use and shared by all receivers.

    `text` can always be encoded: a lone surrogate, which JSON may hold and UTF-8 has no form for, became `?`.
    `size` is that of the payload, in bytes.
    """

    __slots__ = ("_compressed", "_wire", "size", "text")

    def __init__(self, text: str) -> None:
        try:
            self.size = len(text) if text.isascii() else len(text.encode())
        except UnicodeEncodeError:
            text = text.encode("utf-8", "replace").decode()
            self.size = len(text.encode())
        self.text = text
        self._wire: bytes | None = None
        self._compressed: dict[int, bytes] | None = None

    @property
    def wire(self) -> bytes:
        """The complete frame as bytes, header included."""
        if self._wire is None:
            payload = self.text.encode()
            size = len(payload)
            self._wire = SHORT[size] + payload if size < 126 else text_frame(payload)
        return self._wire

    def compressed(self, client: Compressor) -> bytes:
        """The same for a client that gets compressed frames: made once for each window size."""
        if self._compressed is None:
            self._compressed = {}
        bits = client.window_bits
        if (data := self._compressed.get(bits)) is None:
            data = self._compressed[bits] = client.compressed(self.wire)
        return data

    @property
    def message(self) -> dict[str, Any]:
        """The ASGI message that sends it."""
        return {"type": "websocket.send", "text": self.text}

    @property
    def payload(self) -> str | bytes:
        """What it carries, before it is compressed."""
        return self.text


class BinaryFrame(Frame):
    """One outbound binary message."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        super().__init__("")
        self.data = data
        self.size = len(data)

    @property
    def wire(self) -> bytes:
        """The complete frame as bytes, header included."""
        if self._wire is None:
            self._wire = _frame(0x82, self.data)
        return self._wire

    @property
    def message(self) -> dict[str, Any]:
        """The ASGI message that sends it."""
        return {"type": "websocket.send", "bytes": self.data}

    @property
    def payload(self) -> str | bytes:
        """What it carries, before it is compressed."""
        return self.data
