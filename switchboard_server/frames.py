"""RFC 6455 framing as pure functions and one reader: bytes in, frames out. No I/O, no clock."""

from __future__ import annotations

import codecs
from struct import pack, unpack_from
from typing import Any, Final

try:
    from websockets.speedups import apply_mask
except ImportError:  # an interpreter for which it has no compiled module
    from websockets.utils import apply_mask

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
FIN: Final = 0x80
"""Bit of the first byte: the last, or only, part of a message."""
MASKED: Final = 0x80
"""Bit of the second byte: the payload is masked, as a client's has to be."""
OPCODES: Final = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})

NO_STATUS: Final = 1005
"""Code reported for a close frame without one (section 7.1.5); never on the wire."""
ABNORMAL: Final = 1006
"""Code reported for a connection lost without a close frame; never on the wire."""
MAX_REASON: Final = 123
"""Bytes of a close reason: a control frame carries 125, two of them the code (section 5.5)."""
UNLIMITED: Final = 2**63
JOINED: Final = 256
"""Parts of a fragmented message that become one: as objects, tiny ones take thirty times their bytes."""

WireFrame = tuple[int, Any]
"""A whole message or control frame: its opcode, and str for TEXT, (code, reason) for CLOSE, else bytes."""


class FrameError(Exception):
    """The peer broke the protocol: the code and reason to close with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def build(opcode: int, payload: bytes = b"") -> bytes:
    """A whole server frame: FIN set, not masked (section 5.2)."""
    size = len(payload)
    if size < 126:
        return pack("!BB", 0x80 | opcode, size) + payload
    if size < 65536:
        return pack("!BBH", 0x80 | opcode, 126, size) + payload
    return pack("!BBQ", 0x80 | opcode, 127, size) + payload


def count(data: bytes) -> int:
    """How many whole server frames are joined in `data`."""
    number = at = 0
    while at < len(data):
        size, at = data[at + 1], at + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        number, at = number + 1, at + size
    return number


def may_close_with(code: int) -> bool:
    """True for a code that may be in a close frame (section 7.4 and the IANA registry)."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, NO_STATUS, ABNORMAL))


def build_close(code: int, reason: str = "") -> bytes:
    """A close frame; a reason that is too long is cut at a character.

    Raises ValueError for a code that must not be on the wire.
    """
    if not may_close_with(code):
        raise ValueError(f"close code {code} is not one of RFC 6455, section 7.4")
    text = reason.encode("utf-8", "replace")[:MAX_REASON].decode("utf-8", "ignore")
    return build(CLOSE, pack("!H", code) + text.encode())


def _close_payload(payload: bytes) -> tuple[int, str]:
    if not payload:
        return NO_STATUS, ""
    if len(payload) == 1:
        raise FrameError(1002, "a close frame of one byte")
    (code,) = unpack_from("!H", payload)
    if not may_close_with(code):
        raise FrameError(1002, f"invalid close code {code}")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise FrameError(1007, "the close reason is not UTF-8") from None


class FrameReader:
    """Cuts a client's byte stream into whole messages and control frames.

    Bounds are bytes of one frame's payload and of one message's, 0 for none; what is larger is refused
    when its header has arrived, before its payload.
    """

    __slots__ = (
        "_at",
        "_data",
        "_decoder",
        "_joined",
        "_largest",
        "_max_frame",
        "_max_message",
        "_need",
        "_opcode",
        "_parts",
        "_size",
    )

    def __init__(self, max_frame: int, max_message: int) -> None:
        self.bound(max_frame, max_message)
        self._data: bytes | bytearray = b""
        self._at = 0
        self._need = 2
        self._opcode = CONTINUATION
        """Opcode of the fragmented message that is being read; CONTINUATION when there is none."""
        self._parts: list[Any] | None = None
        self._joined = 0
        """How many of these, at the beginning, are joined of others."""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._size = 0

    def bound(self, max_frame: int, max_message: int) -> None:
        """Other bounds, for what is read from now on."""
        self._max_frame = max_frame or UNLIMITED
        self._max_message = max_message or UNLIMITED
        self._largest = min(self._max_frame, self._max_message)

    def feed(self, data: bytes) -> None:
        """Add bytes from the wire.

        `_data` is what was received, as it is, while one read holds whole frames: no copy is made. Only a
        frame that is spread over several reads is collected in a bytearray.
        """
        rest = len(self._data) - self._at
        if not rest:
            self._data, self._at = data, 0
            return
        if not isinstance(self._data, bytearray):
            self._data, self._at = bytearray(memoryview(self._data)[self._at :]), 0
        self._data += data

    def next(self) -> WireFrame | None:
        """The next whole message or control frame; None when more bytes are needed.

        Raises FrameError when the peer broke the protocol; the stream is of no use after that.
        """
        data, at = self._data, self._at
        left = len(data) - at
        if left < self._need:
            return None
        # Nearly every frame is a masked message of less than 64 KiB in one piece: that is read here, at once.
        # Whatever is not, and whatever is wrong, goes the long way.
        opcode, length, start = data[at] ^ FIN, data[at + 1] ^ MASKED, at + 6
        if length == 126 and left >= 8:
            length, start = data[at + 2] << 8 | data[at + 3], at + 8
            if length < 126:
                return self._next()
        elif length > 125:
            return self._next()
        end = start + length
        if not 0 < opcode < 3 or end > len(data) or length > self._largest or self._parts is not None:
            return self._next()
        payload = apply_mask(data[start:end], data[start - 4 : start])
        self._consume(end)
        return opcode, self._text(payload, True) if opcode == TEXT else payload

    def _next(self) -> WireFrame | None:
        """The same for frames of every kind."""
        while len(self._data) - self._at >= self._need:
            if (header := self._header()) is None:
                break
            opcode, final, start, end = header
            if len(self._data) < end:
                self._need = end - self._at
                break
            payload = apply_mask(self._data[start:end], self._data[start - 4 : start])
            self._consume(end)
            if opcode == CLOSE:
                return CLOSE, _close_payload(payload)
            if opcode > CLOSE:
                return opcode, payload
            if final and self._parts is None:
                return self._message(opcode, payload)
            if (whole := self._fragment(opcode, final, payload)) is not None:
                return whole
        return None

    def clear(self) -> None:
        """Forget all bytes."""
        self._data, self._at, self._need = b"", 0, 2
        self._parts = self._decoder = None

    def _consume(self, end: int) -> None:
        self._at, self._need = end, 2
        if end == len(self._data):
            self._data, self._at = b"", 0
        elif isinstance(self._data, bytearray):
            # Back to bytes, by one copy: slices of a bytearray would each be copied twice.
            self._data, self._at = bytes(memoryview(self._data)[end:]), 0

    def _header(self) -> tuple[int, bool, int, int] | None:
        """(opcode, final, start of the payload, its end) of the next frame; None until it is there."""
        data, at = self._data, self._at
        first, second = data[at], data[at + 1]
        length = second & 0x7F
        start = at + 6
        if length > 125:
            layout, shortest, size = ("!H", 126, 2) if length == 126 else ("!Q", 65536, 8)
            start += size
            if len(data) < start:
                self._need = start - at
                return None
            (length,) = unpack_from(layout, data, at + 2)
            if length < shortest:
                raise FrameError(1002, "a length that is not in its shortest form")
        self._check(first, second, length)
        return first & 0x0F, first >= 0x80, start, start + length

    def _check(self, first: int, second: int, length: int) -> None:
        opcode = first & 0x0F
        if first & 0x70:
            raise FrameError(1002, "a reserved bit is set")
        if opcode not in OPCODES:
            raise FrameError(1002, f"unknown opcode {opcode}")
        if not second & 0x80:
            raise FrameError(1002, "a client's frame must be masked")
        if opcode >= CLOSE:
            if first < 0x80 or length > 125:
                raise FrameError(1002, "a control frame must be whole and at most 125 bytes")
            return
        if (opcode == CONTINUATION) != (self._parts is not None):
            raise FrameError(1002, "a continuation out of place")
        if self._is_too_long(length):
            raise FrameError(1009, f"at most {min(self._max_frame, self._max_message)} bytes")

    def _is_too_long(self, length: int) -> bool:
        return length > self._max_frame or self._size + length > self._max_message

    def _message(self, opcode: int, payload: bytes) -> WireFrame:
        """A message that is whole."""
        return opcode, self._text(payload, True) if opcode == TEXT else payload

    def _fragment(self, opcode: int, final: bool, payload: bytes) -> WireFrame | None:
        """Take one part of a fragmented message (section 5.4); the message with its last part."""
        if self._parts is None:
            self._parts, self._joined, self._opcode, self._size = [], 0, opcode, 0
            self._decoder = codecs.getincrementaldecoder("utf-8")() if opcode == TEXT else None
        self._size += len(payload)
        # UTF-8 is checked part by part, so that a wrong byte is refused before the message ends.
        part = payload if self._decoder is None else self._text(payload, final)
        parts, nothing = self._parts, "" if self._opcode == TEXT else b""
        if part:
            parts.append(part)
            if len(parts) - self._joined == JOINED:
                parts[self._joined :] = [nothing.join(parts[self._joined :])]
                self._joined += 1
        if not final:
            return None
        whole = self._opcode, nothing.join(parts)
        self._parts, self._decoder, self._size, self._opcode = None, None, 0, CONTINUATION
        return whole

    def _text(self, payload: bytes, final: bool) -> str:
        try:
            return payload.decode() if self._decoder is None else self._decoder.decode(payload, final)
        except UnicodeDecodeError:
            raise FrameError(1007, "text that is not UTF-8") from None
