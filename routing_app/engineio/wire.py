"""Engine.IO packets and polling payloads, protocol versions 3 and 4, to and from what is on the wire.

A packet is a `str` whose first character is its type (`4hello`), or `bytes`: the data of a binary message.
Facts: socketio/engine.io-protocol, `README.md` of the branches v3 and main ("Packet encoding", "Payload").
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

OPEN: Final = "0"
CLOSE: Final = "1"
PING: Final = "2"
PONG: Final = "3"
MESSAGE: Final = "4"
UPGRADE: Final = "5"
NOOP: Final = "6"
BASE64: Final = "b"
"""First character of binary data in a string; the type follows in version 3."""
TYPES: Final = frozenset("0123456")

PROBE: Final = PING + "probe"
PROBED: Final = PONG + "probe"
SEPARATOR: Final = "\x1e"
"""Between the packets of a version 4 payload."""
VERSIONS: Final = {"4": 4, "3": 3, "2": 3, "": 3}
"""Protocol version by the `EIO` of a query. The original servers take what is not 4 for 3 (engine.io,
`Server.handshake`): Swift clients before 16 and Arduino libraries send none, socket.io-client 1.0 sends 2,
and all of them write packets of version 3."""

TEXT_TYPE: Final = b"text/plain; charset=UTF-8"
BINARY_TYPE: Final = b"application/octet-stream"

Packet = str | bytes


class EngineWireError(ValueError):
    """A packet or payload that is not Engine.IO."""


class Payload(NamedTuple):
    """The body of a polling response, or of a request, and its content type."""

    body: bytes
    content_type: bytes


def open_packet(
    version: int, sid: str, upgrades: Sequence[str], interval: float, timeout: float, max_payload: int
) -> str:
    """The first packet of a session. Times in seconds; on the wire they are milliseconds."""
    handshake: dict[str, Any] = {
        "sid": sid,
        "upgrades": list(upgrades),
        "pingInterval": round(interval * 1000),
        "pingTimeout": round(timeout * 1000),
    }
    if version == 4:
        handshake["maxPayload"] = max_payload
    return OPEN + json.dumps(handshake, separators=(",", ":"))


def check(packet: str) -> str:
    """A packet whose type is known. Raises EngineWireError."""
    if packet[:1] not in TYPES:
        raise EngineWireError("unknown packet type")
    return packet


def decode_frame(version: int, data: Packet, twice: bool = False) -> Packet:
    """The packet of one WebSocket frame: version 3 puts the type before binary data, version 4 does not.

    Clients without binary frames (`b64` in the query) write base64; those of version 2 encode strings
    `twice`, here as in payloads. Raises EngineWireError.
    """
    if isinstance(data, str):
        if data.startswith(BASE64):
            return _from_base64(version, data)
        return check(_encoded_once([data])[0] if twice else data)
    if version == 4:
        return data
    if data[:1] != b"\x04":
        raise EngineWireError("a binary packet that is not a message")
    return data[1:]


def encode_frame(version: int, packet: Packet, text_only: bool = False) -> Packet:
    """The WebSocket frame of a packet; `text_only` is for clients without binary frames."""
    if text_only and isinstance(packet, bytes):
        return _as_base64(version, packet)
    return b"\x04" + packet if version == 3 and isinstance(packet, bytes) else packet


def encode_payload(version: int, packets: Sequence[Packet], binary: bool = False) -> Payload:
    """The body that carries `packets`.

    `binary` chooses the binary form of version 3; version 4 has one form only.
    """
    if version == 4:
        return Payload(SEPARATOR.join([_as_text_4(packet) for packet in packets]).encode(), TEXT_TYPE)
    if binary:
        return Payload(b"".join([_as_binary_3(packet) for packet in packets]), BINARY_TYPE)
    return Payload("".join([_as_text_3(packet) for packet in packets]).encode(), TEXT_TYPE)


def decode_payload(version: int, body: bytes, content_type: bytes, limit: int) -> list[Packet]:
    """The packets of a request body, `limit` at most. Raises EngineWireError."""
    if version == 3 and content_type.startswith(BINARY_TYPE):
        packets = _split_binary_3(body, limit)
    else:
        packets = _split_text(version, body, limit)
    if not packets:
        raise EngineWireError("an empty payload")
    return packets


def _split_text(version: int, body: bytes, limit: int) -> list[Packet]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise EngineWireError("a payload that is not UTF-8") from None
    if version == 3:
        return _split_text_3(text, limit)
    parts = text.split(SEPARATOR, limit)
    _bound(parts, limit)
    return [_from_text_4(part) for part in parts]


def _as_text_4(packet: Packet) -> str:
    return packet if isinstance(packet, str) else _as_base64(4, packet)


def _from_text_4(part: str) -> Packet:
    return _from_base64(4, part) if part.startswith(BASE64) else check(part)


def _as_base64(version: int, data: bytes) -> str:
    return (BASE64 if version == 4 else BASE64 + MESSAGE) + b64encode(data).decode()


def _from_base64(version: int, text: str) -> bytes:
    """`b` and the data, in version 3 with the type between them. Raises EngineWireError."""
    if version == 3 and text[1:2] != MESSAGE:
        raise EngineWireError("a binary packet that is not a message")
    try:
        return b64decode(text[1 if version == 4 else 2 :], validate=True)
    except ValueError:
        raise EngineWireError("binary data that is not base64") from None


def _as_text_3(packet: Packet) -> str:
    text = packet if isinstance(packet, str) else _as_base64(3, packet)
    return f"{_units(text)}:{text}"


def _as_binary_3(packet: Packet) -> bytes:
    kind, data = (0, packet.encode()) if isinstance(packet, str) else (1, b"\x04" + packet)
    return bytes([kind, *map(int, str(len(data))), 255]) + data


def _units(text: str) -> int:
    """Length as JavaScript counts it: a character outside the basic plane is two units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _split_text_3(text: str, limit: int) -> list[Packet]:
    """`<length>:<packet>`, repeated; lengths are UTF-16 units."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        colon = text.find(":", at, at + 11)
        end = colon + 1 + _length(text[at:colon] if colon > 0 else "")
        if not text.isascii():
            end = _skip_units(text, colon + 1, end - colon - 1)
        if end > len(text):
            raise EngineWireError("a payload that ends within a packet")
        parts.append(text[colon + 1 : end])
        _bound(parts, limit)
        at = end
    return [_from_text_3(part) for part in _encoded_once(parts)]


def _length(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10):
        raise EngineWireError("a packet without its length")
    return int(digits)


def _skip_units(text: str, start: int, units: int) -> int:
    """The index `units` UTF-16 units after `start`; beyond the string when it is too short."""
    at = start
    while units > 0 and at < len(text):
        units -= 2 if ord(text[at]) > 0xFFFF else 1
        at += 1
    return at if units == 0 else len(text) + 1


def _from_text_3(part: str) -> Packet:
    return _from_base64(3, part) if part.startswith(BASE64) else check(part)


def _encoded_once(parts: list[str]) -> list[str]:
    """Undo the second UTF-8 encoding that 1.x clients apply to strings in the text form.

    Newer clients send the same form without it, so it was applied to all packets of a payload or to none.
    """
    try:
        return [part if part.isascii() else part.encode("latin-1").decode() for part in parts]
    except ValueError:
        return parts


def _split_binary_3(body: bytes, limit: int) -> list[Packet]:
    """`<0 string, 1 binary><digits of the length as bytes><255><packet>`, repeated; lengths are bytes."""
    packets: list[Packet] = []
    at = 0
    while at < len(body):
        mark = body.find(b"\xff", at, at + 12)
        end = mark + 1 + _length("".join(map(str, body[at + 1 : mark])) if mark > at else "")
        if end > len(body):
            raise EngineWireError("a payload that ends within a packet")
        packets.append(_from_binary_3(body[at], body[mark + 1 : end]))
        _bound(packets, limit)
        at = end
    return packets


def _from_binary_3(kind: int, data: bytes) -> Packet:
    if kind == 1:
        return decode_frame(3, data)
    if kind != 0:
        raise EngineWireError("a packet that is neither string nor binary")
    try:
        return check(data.decode())
    except UnicodeDecodeError:
        raise EngineWireError("a packet that is not UTF-8") from None


def _bound(packets: Sequence[Any], limit: int) -> None:
    if len(packets) > limit:
        raise EngineWireError(f"more than {limit} packets in a payload")
