"""Socket.IO packets of all client generations."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from routing_app.engineio.socketio import wire
from routing_app.engineio.socketio.wire import Attached, Packet, SocketWireError

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
        ('50-["x"]', Packet(wire.EVENT, "/", ["x"])),
        ("2[1.5,true]", Packet(wire.EVENT, "/", [1.5, True])),
        ("2" + "9" * 5000 + '["x"]', Packet(wire.EVENT, "/", ["x"], "9" * 5000)),
    ],
)
def test_packets_of_clients(text: str, packet: Packet) -> None:
    assert wire.decode(text) == packet


@given(namespaces, st.text(), st.lists(values, max_size=3))
def test_events_come_back_and_are_ascii(namespace: str, name: str, arguments: list[object]) -> None:
    text = wire.event(namespace, name, *arguments)

    assert isinstance(text, str)
    assert wire.decode(text) == Packet(wire.EVENT, namespace, json.loads(json.dumps([name, *arguments])))
    assert text.removeprefix(f"2{namespace}").isascii()


@given(namespaces, ids, st.lists(values, max_size=3))
def test_acks_come_back(namespace: str, id: str, arguments: list[object]) -> None:
    text = wire.ack(namespace, id, *arguments)

    assert isinstance(text, str)
    assert wire.decode(text) == Packet(wire.ACK, namespace, json.loads(json.dumps(arguments)), id)


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
        "2[true]",
        "2[[]]",
        '2 ["x"]',
        '2/bus, ["x"]',
        '31\t["x"]',
        "0\n{}",
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
def test_text_that_is_no_packet_is_refused(text: str) -> None:
    with pytest.raises(SocketWireError):
        wire.decode(text)


def count_bytes(value: object) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return sum(map(count_bytes, value)) if isinstance(value, list) else isinstance(value, bytes)


def looks_like_a_placeholder(value: object) -> bool:
    """Whether some value has what makes a placeholder. Hypothesis takes words from our modules."""
    if isinstance(value, dict):
        return value.get("_placeholder") is True or looks_like_a_placeholder(list(value.values()))
    return isinstance(value, list) and any(map(looks_like_a_placeholder, value))


binaries = st.recursive(
    values | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
few = st.lists(binaries, max_size=3).filter(lambda values: count_bytes(values) <= wire.MAX_ATTACHMENTS)


@given(namespaces, few, ids)
@example("/", [{"_placeholder": True}, b"\x00"], "1")
def test_binary_data_comes_back_where_it_was(namespace: str, arguments: list[object], id: str) -> None:
    for written, type in (
        (wire.event(namespace, "x", *arguments, id=id), wire.EVENT),
        (wire.ack(namespace, id, "x", *arguments), wire.ACK),
    ):
        if isinstance(written, str):
            assert not count_bytes(arguments) or looks_like_a_placeholder(arguments)
            continue
        packet = wire.decode(written.text)
        assert (packet.type, packet.namespace, packet.id) == (type, namespace, id)
        assert packet.attachments == len(written.attachments) == count_bytes(arguments)
        wire.attach(packet.data, written.attachments)
        assert packet.data == ["x", *arguments]


def test_a_value_that_looks_like_a_placeholder_makes_base64_of_the_others() -> None:
    false = {"_placeholder": True, "num": 9}

    assert wire.event("/", "x", b"\x01", '"_placeholder":true') == Attached(
        '51-["x",{"_placeholder":true,"num":0},"\\"_placeholder\\":true"]', [b"\x01"]
    )
    assert wire.event("/", "x", b"\x01", false) == ('2["x",{"_base64":"AQ=="},{"_placeholder":true,"num":9}]')


@pytest.mark.parametrize(
    ("data", "count"),
    [
        ([{"_placeholder": True, "num": 1}], 1),
        ([{"_placeholder": True, "num": -1}], 1),
        ([{"_placeholder": True, "num": "0"}], 1),
        ([{"_placeholder": True, "num": True}, {"_placeholder": True, "num": 0}], 2),
        ([{"_placeholder": True, "num": 0.5}], 1),
        ([{"_placeholder": True}], 1),
        ([{"_placeholder": True, "num": 0}, [{"_placeholder": True, "num": 0}]], 1),
        ([{"_placeholder": True, "num": 0}, {"_placeholder": True, "num": 0}], 2),
        ([{"_placeholder": False, "num": 0}], 1),
        (["x"], 1),
    ],
    ids=str,
)
def test_a_placeholder_and_an_attachment_belong_together(data: list[object], count: int) -> None:
    with pytest.raises(SocketWireError):
        wire.attach(data, [b"x"] * count)


@pytest.mark.parametrize(
    "text",
    ["5", '5["x"]', '5-["x"]', "51-{}", "61-[]", '511-["x"]', '5999-["x"]', '51-[{"_placeholder":true}]'],
)
def test_a_binary_packet_without_its_number_or_data_is_refused(text: str) -> None:
    with pytest.raises(SocketWireError):
        wire.decode(text)


def test_the_packets_of_the_server() -> None:
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
