"""Socket.IO packets to and from strings, as every client generation writes them.

A packet is `<type>[<attachments>-][<namespace>[?<query>],][<ack id>][<JSON>]`. Clients 1.x leave out the
comma after a namespace when nothing follows. Facts: socketio/socket.io-protocol, `Readme.md` of v5 and branch
v4; client 1.x by observation. Packets are written in ASCII: clients 1.x, and Python's socketIO-client-2, read
other characters wrongly on some transport.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from routing_app.core.json import NotJSON
from routing_app.core.json import loads as load_json

CONNECT: Final = 0
DISCONNECT: Final = 1
EVENT: Final = 2
ACK: Final = 3
ERROR: Final = 4
BINARY_EVENT: Final = 5
BINARY_ACK: Final = 6

MAIN: Final = "/"
"""The namespace that a packet without one is for."""

_HEAD: Final = re.compile(r"([0-6])(?:([0-9]{1,3})-)?(?:(/[^,]*)(?:,|$))?([0-9]*)", re.ASCII | re.DOTALL)


class SocketWireError(ValueError):
    """A packet that is not Socket.IO."""


class BinaryRefused(SocketWireError):
    """A packet with binary attachments, which this server does not take."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet. `data` is decoded JSON, None without any.

    `id` asks for an ack, or is the ack's: its digits as they came, which may be more than a number holds.
    """

    type: int
    namespace: str = MAIN
    data: Any = None
    id: str | None = None
    query: dict[str, str] = field(default_factory=dict)


def decode(text: str) -> Packet:
    """Read one packet. Raises SocketWireError; BinaryRefused for one that announces attachments."""
    head = _HEAD.match(text)
    if head is None:
        raise SocketWireError("unknown packet type")
    type = int(head[1])
    if type in (BINARY_EVENT, BINARY_ACK):
        raise BinaryRefused("binary attachments are not accepted")
    if head[2] is not None:
        raise SocketWireError("attachments on a text packet")
    namespace, _, query = (head[3] or MAIN).partition("?")
    data = loads(text[head.end() :]) if head.end() < len(text) else None
    packet = Packet(type, namespace, data, head[4] or None, dict(parse_qsl(query)))
    _check(packet)
    return packet


def connect(namespace: str, sid: str | None) -> str:
    """CONNECT of the server: protocol 5 tells the client its `sid`, older ones (None) do not."""
    if sid is None:
        return f"{CONNECT}" if namespace == MAIN else f"{CONNECT}{namespace}"
    return f"{CONNECT}{_prefix(namespace)}{dumps({'sid': sid})}"


def refuse(namespace: str, reason: str, version: int) -> str:
    """A refused CONNECT, for a client on that version of Engine.IO."""
    return f"{ERROR}{_prefix(namespace)}{dumps({'message': reason} if version == 4 else reason)}"


def disconnect(namespace: str) -> str:
    """The server ends a namespace."""
    return f"{DISCONNECT}{_prefix(namespace)}"


def event(namespace: str, *arguments: Any) -> str:
    """An event: its name, then its arguments. Raises ValueError for what JSON cannot hold (Infinity)."""
    return f"{EVENT}{_prefix(namespace)}{dumps(arguments)}"


def ack(namespace: str, id: str, *arguments: Any) -> str:
    """The answer to an event that asked for one."""
    return f"{ACK}{_prefix(namespace)}{id}{dumps(arguments)}"


def dumps(value: Any) -> str:
    """Compact JSON in ASCII. Raises ValueError for Infinity and NaN."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def loads(text: str) -> Any:
    """Strict JSON. Raises SocketWireError."""
    try:
        return load_json(text)
    except NotJSON:
        raise SocketWireError("data that is not JSON") from None


def _prefix(namespace: str) -> str:
    return "" if namespace == MAIN else namespace + ","


def _check(packet: Packet) -> None:
    """Check the data of a packet by its type. Raises SocketWireError."""
    data = packet.data
    if packet.type == EVENT:
        good = isinstance(data, list) and bool(data) and isinstance(data[0], (str, int))
    elif packet.type == ACK:
        good = isinstance(data, list) and packet.id is not None
    elif packet.type == CONNECT:
        good = data is None or isinstance(data, dict)
    else:
        good = packet.type == DISCONNECT and data is None
    if not good:
        raise SocketWireError("data that does not fit the packet type")
