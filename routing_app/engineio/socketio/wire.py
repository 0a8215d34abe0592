"""Socket.IO packets to and from strings, as every client generation writes them.

A packet is `<type>[<attachments>-][<namespace>[?<query>],][<ack id>][<JSON>]`. Clients 1.x leave out the
comma after a namespace when nothing follows. Facts: socketio/socket.io-protocol, `Readme.md` of v5 and branch
v4; client 1.x by observation. Packets are written in ASCII: clients 1.x, and Python's socketIO-client-2, read
other characters wrongly on some transport.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
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

MAX_ATTACHMENTS: Final = 10
"""Attachments of one packet: clients from socket.io-parser 4.2.6 on take no more (`maxAttachments`)."""
PLACEHOLDER: Final = "_placeholder"
"""`{"_placeholder": true, "num": n}` stands where attachment n was (socket.io-protocol, "Encoding")."""
_WRITTEN: Final = f'"{PLACEHOLDER}":true'

MAIN: Final = "/"
"""The namespace that a packet without one is for."""
BASE64: Final = "_base64"
"""`{"_base64": "..."}` is binary data where only JSON can go."""
_PLAIN: Final = {BINARY_EVENT: EVENT, BINARY_ACK: ACK}
_NAMES: Final = (str, int, float)
"""Names of events are strings or numbers (socket.io-parser from 3.3 on); `true` is an int to Python alone."""
_BLANKS: Final = (" ", "\t", "\n", "\r")

_HEAD: Final = re.compile(r"([0-6])(?:([0-9]{1,3})-)?(?:(/[^,]*)(?:,|$))?([0-9]*)", re.ASCII | re.DOTALL)


class SocketWireError(ValueError):
    """A packet that is not Socket.IO."""


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
    attachments: int = 0
    """Number of binary messages that follow, and belong where `data` has placeholders."""
    size: int = field(default=0, compare=False)
    """Bytes that came, with those of attachments that were read."""


class Attached(NamedTuple):
    """A packet to send, and the binary messages behind it."""

    text: str
    attachments: list[bytes]


Written = str | Attached


def decode(text: str) -> Packet:
    """Read one packet. Raises SocketWireError.

    One with binary attachments has the type of the same packet without.
    """
    head = _HEAD.match(text)
    if head is None:
        raise SocketWireError("unknown packet type")
    type = int(head[1])
    attachments = 0
    if (plain := _PLAIN.get(type)) is not None:
        type, attachments = plain, int(head[2] or MAX_ATTACHMENTS + 1)
        if attachments > MAX_ATTACHMENTS:
            raise SocketWireError("too many attachments, or no number of them")
    elif head[2] is not None:
        raise SocketWireError("attachments on a text packet")
    namespace, _, query = (head[3] or MAIN).partition("?")
    if text.startswith(_BLANKS, head.end()):  # clients read a blank as a digit of the id
        raise SocketWireError("a blank before the data")
    data = loads(text[head.end() :]) if head.end() < len(text) else None
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    packet = Packet(type, namespace, data, head[4] or None, dict(parse_qsl(query)), attachments, size)
    _check(packet)
    return packet


def namespace_of(text: str) -> str | None:
    """The namespace of a packet, whatever follows; None for what is no packet."""
    head = _HEAD.match(text)
    return None if head is None else (head[3] or MAIN).partition("?")[0]


def connect(namespace: str, sid: str | None, pid: str = "") -> str:
    """CONNECT of the server: protocol 5 tells the client its `sid`, older ones (None) do not.

    `pid` is the secret with which a client from 4.6 on comes back to its session; "" where it cannot.
    """
    if sid is None:
        return f"{CONNECT}" if namespace == MAIN else f"{CONNECT}{namespace}"
    told = {"sid": sid, "pid": pid} if pid else {"sid": sid}
    return f"{CONNECT}{_prefix(namespace)}{dumps(told)}"


def refuse(namespace: str, reason: str, version: int) -> str:
    """A refused CONNECT, for a client on that version of Engine.IO."""
    return f"{ERROR}{_prefix(namespace)}{dumps({'message': reason} if version == 4 else reason)}"


def disconnect(namespace: str) -> str:
    """The server ends a namespace."""
    return f"{DISCONNECT}{_prefix(namespace)}"


def event(namespace: str, *arguments: Any, id: str = "") -> Written:
    """An event: its name, then its arguments, with `bytes` anywhere in them; `id` asks for an ack.

    Raises ValueError for what JSON cannot hold (Infinity).
    """
    return _write(EVENT, BINARY_EVENT, _prefix(namespace) + id, arguments)


def ack(namespace: str, id: str, *arguments: Any) -> Written:
    """The answer to an event that asked for one."""
    return _write(ACK, BINARY_ACK, _prefix(namespace) + id, arguments)


def attach(data: Any, attachments: Sequence[bytes]) -> None:
    """Put attachments in the places of their placeholders within `data`.

    Raises SocketWireError unless each has exactly one place: the original takes one that has several, and
    so a small packet would become a large one.
    """
    left = dict(enumerate(attachments))

    def attachment(value: Any) -> bytes | None:
        if not isinstance(value, dict) or value.get(PLACEHOLDER) is not True:
            return None
        number = value.get("num")
        if type(number) is not int or number not in left:
            raise SocketWireError("a placeholder without an attachment of its own")
        return left.pop(number)

    put(data, attachment)
    if left:
        raise SocketWireError("an attachment without a placeholder")


def put(data: Any, new: Callable[[Any], Any]) -> None:
    """Replace values at any depth of `data` for which `new` has another; None keeps a value."""
    containers = [data]
    while containers:
        container = containers.pop()
        for key, value in items(container):
            if (other := new(value)) is not None:
                container[key] = other
            elif isinstance(value, dict | list):
                containers.append(value)


def items(container: Any) -> Iterator[tuple[Any, Any]]:
    """Key and value of all members of an object or an array; they may be replaced on the way."""
    yield from list(container.items()) if isinstance(container, dict) else enumerate(container)


def dumps(value: Any) -> str:
    """Compact JSON in ASCII. Raises ValueError for Infinity and NaN."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def loads(text: str) -> Any:
    """Strict JSON. Raises SocketWireError."""
    try:
        return load_json(text)
    except NotJSON:
        raise SocketWireError("data that is not JSON") from None


def _write(type: int, binary_type: int, head: str, arguments: Any) -> Written:
    try:
        return f"{type}{head}{dumps(arguments)}"
    except TypeError:  # there are bytes in it
        pass
    attachments: list[bytes] = []

    def placeholder(value: Any) -> dict[str, Any]:
        attachments.append(_bytes(value))
        return {PLACEHOLDER: True, "num": len(attachments) - 1}

    text = _dumps(arguments, placeholder)
    if text.count(_WRITTEN) == len(attachments):
        return Attached(f"{binary_type}{len(attachments)}-{head}{text}", attachments)
    # A value that looks like a placeholder, and is none, would end the connections of those that receive it.
    return f"{type}{head}{_dumps(arguments, lambda value: base64_object(_bytes(value)))}"


def base64_object(data: bytes) -> dict[str, str]:
    """Binary data for those that have JSON alone."""
    return {BASE64: b64encode(data).decode()}


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    raise TypeError(f"JSON has no {type(value).__name__}")


def _dumps(value: Any, default: Callable[[Any], Any]) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=default)


def _prefix(namespace: str) -> str:
    return "" if namespace == MAIN else namespace + ","


def _check(packet: Packet) -> None:
    """Check the data of a packet by its type. Raises SocketWireError."""
    data = packet.data
    if packet.type == EVENT:
        good = isinstance(data, list) and bool(data) and type(data[0]) in _NAMES
    elif packet.type == ACK:
        good = isinstance(data, list) and packet.id is not None
    elif packet.type == CONNECT:
        good = data is None or isinstance(data, dict)
    else:
        good = packet.type == DISCONNECT and data is None
    if not good:
        raise SocketWireError("data that does not fit the packet type")
