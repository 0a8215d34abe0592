"""Engine.IO and Socket.IO as npm's parsers read them: what we take they take, and as the same packets.

Ours is the stricter one. An input that it refuses and a parser of npm takes has to have one of the reasons
below, each of which is a rule of our own.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.json import depth_exceeds
from routing_app.engineio import wire as engine
from routing_app.engineio.socketio import wire as socket
from tests.fuzz.npm import ENGINE_3, ENGINE_4, SOCKET, Packets, Parsers, base64_of, parsers
from tests.fuzz.targets import corpus

pytestmark = pytest.mark.once

MANY = 10_000
BATCH = 40


@pytest.fixture(scope="module")
def npm() -> Iterator[Parsers]:
    with parsers() as running:
        yield running


# --- Engine.IO ----------------------------------------------------------------------------------------------


def payload_of(version: int, body: str | bytes) -> Packets:
    """Our packets of a body."""
    raw, kind = (body.encode(), engine.TEXT_TYPE) if isinstance(body, str) else (body, engine.BINARY_TYPE)
    try:
        return [shown(packet) for packet in engine.decode_payload(version, raw, kind, MANY)]
    except engine.EngineWireError:
        return None


def frame_of(version: int, data: str | bytes) -> Packets:
    """Our packet of a frame."""
    try:
        return [shown(engine.decode_frame(version, data))]
    except engine.EngineWireError:
        return None


def shown(packet: engine.Packet) -> list[Any]:
    if isinstance(packet, bytes):
        return [engine.MESSAGE, {"base64": base64_of(packet)}]
    return [packet[0], packet[1:]]


def is_stricter_engine(version: int, what: str, body: str | bytes, theirs: list[Any]) -> bool:
    """May we refuse what a parser takes? Only where it is not written as the protocol has it.

    Lengths may be any number that JavaScript reads (` 5`, `5.0`), a packet may be empty, base64 may hold
    other characters, and binary data may be of another type than a message.
    """
    if not theirs or any(isinstance(data, dict) and type != engine.MESSAGE for type, data in theirs):
        return True
    packets = [
        base64.b64decode(data["base64"]) if isinstance(data, dict) else type + data for type, data in theirs
    ]
    if what == "frame":
        return body != engine.encode_frame(version, packets[0], text_only=isinstance(body, str))
    written = engine.encode_payload(version, packets, binary=isinstance(body, bytes)).body
    return written != (body.encode() if isinstance(body, str) else body)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
packets = st.builds(lambda kind, text: kind + text, st.sampled_from("0123456b9"), texts)
lengths = st.sampled_from(["0", "05", "+3", "3.0", "1e1", " 3", "", "x"]) | st.integers(0, 14).map(str)
bodies_3 = st.lists(
    packets.map(lambda text: f"{len(text.encode('utf-16-le')) // 2}:{text}")
    | st.builds(lambda length, text: f"{length}:{text}", lengths, packets)
    | texts,
    max_size=4,
).map("".join)
bodies_4 = st.lists(packets | texts, max_size=5).map("\x1e".join)
binaries_3 = st.lists(
    packets.map(lambda text: b"\0" + digits(text.encode()) + b"\xff" + text.encode())
    | st.binary(max_size=5).map(lambda data: b"\1" + digits(b"\4" + data) + b"\xff\4" + data)
    | st.binary(max_size=6),
    max_size=4,
).map(b"".join)


def digits(data: bytes) -> bytes:
    return bytes(map(int, str(len(data))))


def compare_engine(
    npm: Parsers, version: int, what: str, inputs: Sequence[str | bytes], clients: Sequence[str]
) -> int:
    """Compare all inputs; how many both sides take."""
    decode = payload_of if what == "payload" else frame_of
    ours = [decode(version, one) for one in inputs]
    answers = [npm.decode(client, what, inputs) for client in clients]
    for number, (one, mine) in enumerate(zip(inputs, ours, strict=True)):
        theirs = [answer[number] for answer in answers]
        if mine is not None:
            assert mine in theirs, (one, mine, theirs)
        else:
            assert all(other is None or is_stricter_engine(version, what, one, other) for other in theirs), (
                one,
                theirs,
            )
    return sum(mine is not None for mine in ours)


def kept(name: str) -> list[bytes]:
    """The inputs of a target without the byte that chooses."""
    return [data[1:] for data in corpus(name)]


@given(st.lists(bodies_4, min_size=1, max_size=BATCH))
def test_payloads_of_version_4(npm: Parsers, bodies: list[str]) -> None:
    compare_engine(npm, 4, "payload", bodies, ENGINE_4)
    compare_engine(npm, 4, "frame", bodies, ENGINE_4)


@given(st.lists(bodies_3, min_size=1, max_size=BATCH))
def test_payloads_of_version_3(npm: Parsers, bodies: list[str]) -> None:
    """The two parsers of version 3 differ where a string was encoded twice: ours tells which one it was."""
    compare_engine(npm, 3, "payload", bodies, ENGINE_3)
    compare_engine(npm, 3, "frame", bodies, ENGINE_3[1:])


@given(st.lists(binaries_3, min_size=1, max_size=BATCH))
def test_binary_payloads_of_version_3(npm: Parsers, bodies: list[bytes]) -> None:
    compare_engine(npm, 3, "payload", bodies, ENGINE_3[1:])


def test_the_corpus_of_engineio(npm: Parsers) -> None:
    inputs = [body.decode("utf-8", "replace") for body in kept("engineio")]

    taken = compare_engine(npm, 4, "payload", inputs, ENGINE_4)
    taken += compare_engine(npm, 3, "payload", inputs, ENGINE_3)
    taken += compare_engine(npm, 3, "payload", kept("engineio"), ENGINE_3[1:])
    assert taken >= 5


# --- Socket.IO ----------------------------------------------------------------------------------------------


def packet_of(text: str) -> Packets:
    """Our packet, with the attachments that it asks for."""
    try:
        packet = socket.decode(text)
        if packet.attachments:
            socket.attach(packet.data, [bytes([number]) for number in range(packet.attachments)])
    except socket.SocketWireError:
        return None
    id = None if packet.id is None else float(packet.id)
    type = packet.type
    return [{"type": type, "nsp": packet.namespace, "id": id, "data": as_double(packet.data)}]


def as_double(value: Any) -> Any:
    """A value as JavaScript has it: every number is a double."""
    if isinstance(value, bytes):
        return {"base64": base64_of(value)}
    if isinstance(value, dict):
        return {name: as_double(one) for name, one in value.items()}
    if isinstance(value, list):
        return [as_double(one) for one in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def normal(packets: Packets) -> Packets:
    """Theirs in the same form: a binary event is an event, a namespace has no query, numbers are doubles."""
    if packets is None:
        return None
    packet = packets[0]
    return [
        {
            "type": {5: 2, 6: 3}.get(packet["type"], packet["type"]),
            "nsp": packet["nsp"].partition("?")[0],
            "id": None if packet["id"] is None else float(packet["id"]),
            "data": as_double(packet["data"]),
        }
    ]


ID = re.compile(r"[0-6](?:[^-]*-)?(?:/[^,]*,?)?([\s\ufeff0-9]*)")
ATTACHMENTS = re.compile(r"[56]([1-9]|10)-")
HUGE = re.compile(r"[0-9.]{300}|[eE][+]?[0-9]{3}")


def is_stricter_socket(text: str, theirs: list[Any]) -> bool:
    """May we refuse what a parser takes?

    It takes an empty packet, events without data or without a name, acks without an id, blanks for an id,
    numbers beyond all bounds, deep values, attachments without one place of their own, and, before 3.3, data
    that does not fit its type.
    """
    data, type = theirs[0]["data"], theirs[0]["type"]
    unfit = {
        0: data is not None and not isinstance(data, dict),
        1: data is not None,
        2: not (isinstance(data, list) and data and isinstance(data[0], str | float)),
        3: not isinstance(data, list) or theirs[0]["id"] is None,
    }[type]
    blank = not (head := ID.match(text)) or head[1].strip() != head[1]
    return (
        unfit
        or blank
        or has_odd_attachments(text, data)
        or bool(HUGE.search(text))
        or depth_exceeds(data, 500)
    )


def has_odd_attachments(text: str, data: Any) -> bool:
    """Is this a binary packet in which not every attachment has one place?"""
    if text[:1] not in ("5", "6"):
        return False
    match = ATTACHMENTS.match(text)
    written = json.dumps(data)
    wanted = [
        json.dumps({"base64": base64_of(bytes([number]))}) for number in range(int(match[1]) if match else 0)
    ]
    return (
        not match
        or text.count("_placeholder") != len(wanted)
        or any(written.count(one) != 1 for one in wanted)
    )


def is_refused_by_newer(text: str, ours: Packets) -> bool:
    """May a parser refuse what we take?

    From 3.3 on one takes no binary packet without attachments, from 4.0 on no event with the name of one of
    the client's own (`connect`), and data that is `null` only where it says so.
    """
    assert ours is not None
    packet = ours[0]
    null = text[:1] in ("0", "1") and text.endswith("null")
    reserved = packet["type"] == 2 and isinstance(packet["data"][0], str) and packet["data"][0] in RESERVED
    return reserved or null or text[:2] in ("50", "60")


RESERVED = {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["connect", "__proto__", "\ud800"])
    | st.integers(0, 3).map(lambda number: {"_placeholder": True, "num": number}),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "__proto__", "_placeholder", "num", ""]), inner, max_size=3)
    ),
    max_leaves=6,
)
heads = st.tuples(
    st.sampled_from("01234567"),
    st.sampled_from(["", "", "1-", "2-", "0-", "11-", "-", "1e0-", " 1-"]),
    st.sampled_from(["", "", "/", "/bus,", "/bus", "/bus?a=b,", "/a/b,"]),
    st.sampled_from(["", "", "0", "12", "007", " ", "9" * 20]),
).map("".join)
strings = (
    st.builds(lambda head, value: head + json.dumps(value), heads, st.lists(values, max_size=3) | values)
    | heads
    | texts
)


def compare_socket(npm: Parsers, inputs: Sequence[str]) -> int:
    """Compare all inputs with each parser; how many we take."""
    ours = [packet_of(one) for one in inputs]
    for client in SOCKET:
        theirs = [normal(one) for one in npm.decode(client, "packet", inputs)]
        for one, mine, other in zip(inputs, ours, theirs, strict=True):
            if mine is None:
                assert other is None or is_stricter_socket(one, other), (client, one, other)
            elif other is None:
                assert is_refused_by_newer(one, mine), (client, one, mine)
            else:
                assert mine == other, (client, one)
    return sum(mine is not None for mine in ours)


@given(st.lists(strings, min_size=1, max_size=BATCH))
def test_packets_of_socketio(npm: Parsers, inputs: list[str]) -> None:
    compare_socket(npm, inputs)


def test_the_corpus_of_socketio(npm: Parsers) -> None:
    inputs = [data.decode("utf-8", "replace") for data in corpus("socketio")]

    assert compare_socket(npm, [one for one in inputs if one]) >= 5
