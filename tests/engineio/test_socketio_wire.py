"""Socket.IO packets of all client generations."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.engineio.socketio import wire
from routing_app.engineio.socketio.wire import BinaryRefused, Packet, SocketWireError

pytestmark = pytest.mark.once

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
namespaces = st.sampled_from(["/", "/layout", "/a/b", "/é"])
ids = st.integers(0, 2**64).map(str)


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ("0", Packet(wire.CONNECT)),
        ("0/layout", Packet(wire.CONNECT, "/layout")),
        ("0/layout,", Packet(wire.CONNECT, "/layout")),
        ("0/lobby?lobbyId=L1", Packet(wire.CONNECT, "/lobby", query={"lobbyId": "L1"})),
        ("0/lobby?lobbyId=L%2C1&x=,", Packet(wire.CONNECT, "/lobby", query={"lobbyId": "L,1"})),
        ('0/trigger,{"a":1}', Packet(wire.CONNECT, "/trigger", {"a": 1})),
        ('0{"token":"123"}', Packet(wire.CONNECT, "/", {"token": "123"})),
        ("1", Packet(wire.DISCONNECT)),
        ("1/layout", Packet(wire.DISCONNECT, "/layout")),
        ('2["x"]', Packet(wire.EVENT, "/", ["x"])),
        ('2/bus,17["x",{"a":[1]}]', Packet(wire.EVENT, "/bus", ["x", {"a": [1]}], "17")),
        ("3/bus,17[]", Packet(wire.ACK, "/bus", [], "17")),
        ('29007199254740993["x"]', Packet(wire.EVENT, "/", ["x"], "9007199254740993")),
        ("2" + "9" * 5000 + '["x"]', Packet(wire.EVENT, "/", ["x"], "9" * 5000)),
    ],
)
def test_packets_of_clients(text: str, packet: Packet) -> None:
    assert wire.decode(text) == packet


@given(namespaces, st.text(), st.lists(values, max_size=3))
def test_events_come_back_and_are_ascii(namespace: str, name: str, arguments: list[object]) -> None:
    text = wire.event(namespace, name, *arguments)

    assert wire.decode(text) == Packet(wire.EVENT, namespace, json.loads(json.dumps([name, *arguments])))
    assert text.removeprefix(f"2{namespace}").isascii()


@given(namespaces, ids, st.lists(values, max_size=3))
def test_acks_come_back(namespace: str, id: str, arguments: list[object]) -> None:
    packet = wire.decode(wire.ack(namespace, id, *arguments))

    assert packet == Packet(wire.ACK, namespace, json.loads(json.dumps(arguments)), id)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        packet = wire.decode(text)
    except SocketWireError:
        return
    assert packet.namespace.startswith("/")


BROKEN = [
    *(
        "",
        "7",
        "a",
        "2",
        "2{}",
        "2[]",
        '2["x"',
        "2[null]",
        '2abc["x"]',
        '21-["x"]',
        "3[]",
        '0"x"',
        "0[1]",
        "1{}",
    ),
    *("4", '2["x",NaN]', '2["x",Infinity]', "2" + "[" * 100_000, '2["x"]y'),
]


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:12])
def test_what_is_no_packet_is_refused(text: str) -> None:
    with pytest.raises(SocketWireError):
        wire.decode(text)


@pytest.mark.parametrize("text", ['51-["x",{"_placeholder":true,"num":0}]', "61-0[]", "5"])
def test_binary_is_refused_by_name(text: str) -> None:
    with pytest.raises(BinaryRefused):
        wire.decode(text)


def test_what_the_server_says() -> None:
    """Transcripts of the original and of socket.io-protocol."""
    assert wire.connect("/", None) == "0"
    assert wire.connect("/layout", None) == "0/layout"
    assert wire.connect("/", "abc") == '0{"sid":"abc"}'
    assert wire.connect("/layout", "abc") == '0/layout,{"sid":"abc"}'
    assert wire.refuse("/nope", "Invalid namespace", 3) == '4/nope,"Invalid namespace"'
    assert wire.refuse("/nope", "Invalid namespace", 4) == '4/nope,{"message":"Invalid namespace"}'
    assert wire.disconnect("/lobby") == "1/lobby,"
    assert wire.event("/layout", "EVENT", {"sender": "é"}) == '2/layout,["EVENT",{"sender":"\\u00e9"}]'
    assert wire.ack("/layout", "0") == "3/layout,0[]"


def test_infinity_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        wire.event("/", "x", float("inf"))
