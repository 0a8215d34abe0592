"""permessage-deflate (RFC 7692): its negotiation, and messages that are compressed each for itself.

Neither side keeps a context between messages (`no_context_takeover` for both). So a message is compressed
once for all its receivers, an idle connection holds no window, and no message tells anything about another.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from switchboard_server import frames
from switchboard_server.frames import BINARY, TEXT, UNLIMITED, FrameError, FrameReader, WireFrame
from switchboard_server.handshake import HandshakeError, Header

NAME: Final = b"permessage-deflate"
HEADER: Final = b"sec-websocket-extensions"
SWITCHES: Final = (b"server_no_context_takeover", b"client_no_context_takeover")
LIMITS: Final = (b"server_max_window_bits", b"client_max_window_bits")
RSV1: Final = 0x40
"""Bit of the first byte of a message: it is compressed (section 6)."""
RESERVED: Final = 0x70
THRESHOLD: Final = 256
"""Bytes of the smallest frame that is compressed: JSON of 256 bytes becomes 135 in 6 µs, of 128 bytes 101."""
LARGEST: Final = 256 * 1024
"""Bytes of the largest frame that is compressed: that takes 2 ms, in which the loop does nothing else."""
LEVEL: Final = 1
"""Of zlib. JSON of 1,000 bytes becomes 300 bytes in 12 µs, of 16,000 bytes 3,046 in 46. Level 6 makes 266 and
2,310 of them, in 15 and 190."""
TAIL: Final = b"\0\0\xff\xff"
"""End of an empty block, which a sender takes away and a receiver puts back (sections 7.2.1 and 7.2.2)."""
END: Final = b"\1\0\0\xff\xff"
"""An empty last block. zlib finds it behind TAIL only where a message has ended with a whole block."""
ENDS: Final = frozenset({b"", TAIL + END, b"\0" + TAIL + END})
"""Data behind the last block of a message: none, or those of a sender that sets BFINAL (section 7.2.3.5)."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"


def _grammar(expression: bytes) -> re.Pattern[bytes]:
    """T stands for a token, a space for any number of blanks; the header costs no more than its length."""
    return re.compile(expression.replace(b" ", rb"[ \t]*+").replace(b"T", _TOKEN))


_OFFER: Final = _grammar(rb' (?:(T++)((?: ; T++(?: = (?:T++|"(?:\\?T)++"))?)*+))?+ (?:,|\Z)')
_PARAMETER: Final = _grammar(rb'; (T++)(?: = (?:(T++)|"((?:\\?T)++)"))?')
_BITS: Final = re.compile(rb"[89]|1[0-5]")


@dataclass(frozen=True, slots=True)
class Deflate:
    """What both sides have agreed on."""

    window_bits: int
    """The base-2 logarithm of the largest distance that the server may use, 8 to 15."""
    answer: bytes
    """The value of Sec-WebSocket-Extensions in the response."""


# --- negotiation ------------------------------------------------------------------------------------------


def negotiate(headers: Iterable[Header]) -> Deflate | None:
    """The agreement on the first offer that can be accepted; None: no compression. `headers` lower-cased.

    Other extensions are declined, and offers of this one with a parameter that is unknown, repeated or has a
    wrong value (RFC 7692, section 7.1). Raises HandshakeError for a header that cannot be read (RFC 6455,
    section 9.1).
    """
    values = [value for name, value in headers if name == HEADER]
    if not values:
        return None
    agreements = [_agreement(parameters) for name, parameters in _offers(b",".join(values)) if name == NAME]
    return next(filter(None, agreements), None)


def _offers(header: bytes) -> list[tuple[bytes, list[tuple[bytes, bytes]]]]:
    """(name, parameters) of each extension of the header; empty elements of the list do not count."""
    offers, at, more = [], 0, True
    while more:
        if (found := _OFFER.match(header, at)) is None:
            raise _unreadable()
        if found[1]:
            parameters = _PARAMETER.findall(found[2])
            values = [(name, token or quoted.replace(b"\\", b"")) for name, token, quoted in parameters]
            offers.append((found[1], values))
        at, more = found.end(), found[0].endswith(b",")
    if not offers:
        raise _unreadable()
    return offers


def _unreadable() -> HandshakeError:
    return HandshakeError(400, "Sec-WebSocket-Extensions cannot be read")


def _agreement(parameters: list[tuple[bytes, bytes]]) -> Deflate | None:
    """The answer to an offer with these parameters, whose value is empty where the client gave none."""
    asked = dict(parameters)
    if len(asked) < len(parameters) or not all(_is_valid(name, value) for name, value in parameters):
        return None
    limits = [name + b"=" + bits for name in LIMITS if (bits := asked.get(name))]
    return Deflate(int(asked.get(LIMITS[0], b"15")), b"; ".join([NAME, *SWITCHES, *limits]))


def _is_valid(name: bytes, value: bytes) -> bool:
    if name in SWITCHES:
        return not value
    may_be_empty = name == LIMITS[1]
    return name in LIMITS and (bool(_BITS.fullmatch(value)) or (may_be_empty and not value))


# --- to the client ----------------------------------------------------------------------------------------

_deflaters: dict[int, Any] = {}


def compressed(frame: bytes, window_bits: int) -> bytes:
    """A whole, plain server frame in its compressed form; the same frame where that is not shorter.

    Also the same: a control frame, and one below THRESHOLD or above LARGEST.
    """
    if not THRESHOLD <= len(frame) <= LARGEST or frame[0] & 0x0F not in (TEXT, BINARY):
        return frame
    payload = memoryview(frame)[4 if frame[1] == 126 else 10 if frame[1] == 127 else 2 :]
    deflater = _deflater(window_bits)
    # A full flush forgets the window: what follows never refers to what came before. A new compressor for
    # each message would do the same, and spend up to 300 µs on its 256 KB of memory.
    data: bytes = deflater.compress(payload) + deflater.flush(zlib.Z_FULL_FLUSH)
    if len(data) - len(TAIL) >= len(payload):
        return frame
    return frames.build(RSV1 | (frame[0] & 0x0F), data[: -len(TAIL)])


def _deflater(window_bits: int) -> Any:
    """The one compressor of a window size."""
    # zlib knows no window of 2**8 bytes, but never refers to the last 262 bytes of one of 2**9.
    bits = max(window_bits, 9)
    if (deflater := _deflaters.get(bits)) is None:
        deflater = _deflaters[bits] = zlib.compressobj(LEVEL, zlib.DEFLATED, -bits)
    return deflater


# --- from the client --------------------------------------------------------------------------------------


def inflate(data: bytes, limit: int) -> bytes:
    """The payload of a compressed message. Raises FrameError: 1007, or 1009 for more than `limit` bytes.

    No more than `limit` bytes and one are ever made of it.
    """
    if not data:  # not what RFC 7692 has for an empty message, but some senders' form of it
        return b""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        found = inflater.decompress(data + TAIL + END, 0 if limit >= UNLIMITED else limit + 1)
    except zlib.error:
        raise FrameError(1007, "compressed data that cannot be read") from None
    if len(found) > limit:
        raise FrameError(1009, f"at most {limit} bytes")
    if not inflater.eof or inflater.unused_data not in ENDS:
        raise FrameError(1007, "compressed data that does not end with its message")
    return found


class InflatingReader(FrameReader):
    """A FrameReader for a client that may compress its messages."""

    __slots__ = ("_is_compressed", "_kind")

    def __init__(self, max_frame: int, max_message: int) -> None:
        super().__init__(max_frame, max_message)
        self._is_compressed = False
        """Whether the message that is being read is compressed: its first frame says so (section 6.1)."""
        self._kind = BINARY
        """Opcode of a compressed message that comes in fragments."""

    def _check(self, first: int, second: int, length: int) -> None:
        if first & 0x0F in (TEXT, BINARY):
            self._is_compressed = first & RESERVED == RSV1
            if self._is_compressed:
                first ^= RSV1
        super()._check(first, second, length)

    def _is_too_long(self, length: int) -> bool:
        if not self._is_compressed:
            return super()._is_too_long(length)
        # Data that cannot be compressed grows: with the fixed codes of DEFLATE by up to an eighth.
        whole = self._size + length
        return length - length // 8 > self._max_frame or whole - whole // 8 > self._max_message

    def _message(self, opcode: int, payload: bytes) -> WireFrame:
        if self._is_compressed:
            payload = inflate(payload, self._max_message)
        return super()._message(opcode, payload)

    def _fragment(self, opcode: int, final: bool, payload: bytes) -> WireFrame | None:
        if not self._is_compressed:
            return super()._fragment(opcode, final, payload)
        if opcode in (TEXT, BINARY):
            self._kind, opcode = opcode, BINARY  # a part of it cannot be checked as text
        whole = super()._fragment(opcode, final, payload)
        return None if whole is None else self._message(self._kind, whole[1])
