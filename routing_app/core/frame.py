"""A text frame, built once per process however many connections it goes to."""

from __future__ import annotations

from struct import pack


def text_frame(payload: bytes) -> bytes:
    """An unmasked, unfragmented server text frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return pack("!BB", 0x81, size) + payload
    if size < 65536:
        return pack("!BBH", 0x81, 126, size) + payload
    return pack("!BBQ", 0x81, 127, size) + payload


class Frame:
    """One outbound text message, with its bytes on the wire made on first use and shared by all receivers.

    `text` can always be encoded: what has no UTF-8 (a lone surrogate, which JSON may hold) became `?`.
    `size` is that of the payload, in bytes.
    """

    __slots__ = ("_wire", "size", "text")

    def __init__(self, text: str) -> None:
        try:
            self.size = len(text) if text.isascii() else len(text.encode())
        except UnicodeEncodeError:
            text = text.encode("utf-8", "replace").decode()
            self.size = len(text.encode())
        self.text = text
        self._wire: bytes | None = None

    @property
    def wire(self) -> bytes:
        """The complete frame as bytes, header included."""
        if self._wire is None:
            self._wire = text_frame(self.text.encode())
        return self._wire
