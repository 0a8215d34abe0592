"""Engine.IO packets and payloads: what is written can be read, and what cannot be read says so."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.engineio import wire
from routing_app.engineio.wire import EngineWireError

pytestmark = pytest.mark.once

# JSON, so no raw control characters: version 4 relies on that for its separator.
texts = st.text(st.characters(blacklist_categories=["Cs", "Cc"]))
messages = st.builds(lambda text: "4" + text, texts) | st.binary()
control = st.sampled_from(["1", "2", "2probe", "3", "3probe", "5", "6"])
packets = st.lists(messages | control, min_size=1, max_size=20)
LIMIT = 10_000


@given(st.sampled_from([3, 4]), packets, st.booleans())
def test_payloads_come_back(version: int, sent: list[wire.Packet], binary: bool) -> None:
    body, content_type = wire.encode_payload(version, sent, binary)

    received = wire.decode_payload(version, body, content_type, LIMIT)

    if version == 3 and not binary:
        # Ambiguous by nature: what is UTF-8 read as Latin-1 is taken for a client that encodes twice.
        sent = undo_twice(sent)
    assert received == sent


def undo_twice(sent: list[wire.Packet]) -> list[wire.Packet]:
    try:
        return [p if isinstance(p, bytes) else p.encode("latin-1").decode() for p in sent]
    except ValueError:
        return sent


@pytest.mark.parametrize(
    ("body", "packets"),
    [
        ("3:4Ã¶", ["4ö"]),
        ("3:4Ã¶3:4Ã¤", ["4ö", "4ä"]),
        ("3:4Ã¶2:4ö", ["4Ã¶", "4ö"]),
        ("3:4Ã¶2:4€", ["4Ã¶", "4€"]),
    ],
)
def test_a_client_encodes_all_packets_twice_or_none(body: str, packets: list[wire.Packet]) -> None:
    assert wire.decode_payload(3, body.encode(), b"text/plain", LIMIT) == packets


@given(st.lists(texts, min_size=1, max_size=5))
def test_clients_that_encode_twice_are_understood(sent: list[str]) -> None:
    """1.x: the length counts the characters of the first encoding, which is encoded once more."""
    once = ["4" + text.encode().decode("latin-1") for text in sent]
    body = "".join(f"{len(packet)}:{packet}" for packet in once).encode()

    assert wire.decode_payload(3, body, b"text/plain", LIMIT) == ["4" + text for text in sent]


@given(st.lists(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)), min_size=1))
def test_ascii_is_the_same_for_both(sent: list[str]) -> None:
    body = "".join(f"{len(text) + 1}:4{text}" for text in sent).encode()

    assert wire.decode_payload(3, body, b"text/plain", LIMIT) == ["4" + text for text in sent]


@given(
    st.sampled_from([3, 4]), st.binary(), st.sampled_from([b"", b"text/plain", b"application/octet-stream"])
)
def test_any_body_is_read_or_refused(version: int, body: bytes, content_type: bytes) -> None:
    try:
        received = wire.decode_payload(version, body, content_type, LIMIT)
    except EngineWireError:
        return
    assert received
    assert all(isinstance(packet, bytes) or packet[0] in wire.TYPES for packet in received)


@given(st.sampled_from([3, 4]), st.text() | st.binary())
def test_any_frame_is_read_or_refused(version: int, data: wire.Packet) -> None:
    try:
        packet = wire.decode_frame(version, data)
    except EngineWireError:
        assert version == 3 or isinstance(data, str)
        return
    text_only = isinstance(data, str)
    assert wire.decode_frame(version, wire.encode_frame(version, packet, text_only)) == packet


@pytest.mark.parametrize(("version", "frame"), [(3, "b4AQID"), (4, "bAQID")])
def test_binary_data_in_a_text_frame(version: int, frame: str) -> None:
    assert wire.decode_frame(version, frame) == b"\x01\x02\x03"
    assert wire.encode_frame(version, b"\x01\x02\x03", text_only=True) == frame


def test_examples_of_the_protocol_pages() -> None:
    """socketio/engine.io-protocol, v3 "Payload" and main "HTTP long-polling"."""
    euro = ["4hello", "4€"]
    mixed: list[wire.Packet] = ["4€", b"\x01\x02\x03\x04"]

    assert wire.encode_payload(3, euro).body.decode() == "6:4hello2:4€"
    assert wire.encode_payload(3, mixed, True).body == bytes.fromhex("0004ff34e282ac0105ff0401020304")
    assert wire.encode_payload(3, mixed).body.decode() == "2:4€10:b4AQIDBA=="
    assert wire.encode_payload(4, ["4hello", "2", "4world"]).body.decode() == "4hello\x1e2\x1e4world"
    assert wire.encode_payload(4, ["4hello", b"\x01\x02\x03\x04"]).body.decode() == "4hello\x1ebAQIDBA=="


def test_lengths_count_utf_16_units() -> None:
    """JavaScript's length of a character outside the basic plane is 2."""
    body = wire.encode_payload(3, ["4𝄞", "4x"]).body

    assert body.decode() == "3:4𝄞2:4x"
    assert wire.decode_payload(3, body, b"", LIMIT) == ["4𝄞", "4x"]
    with pytest.raises(EngineWireError):
        wire.decode_payload(3, "2:4𝄞".encode(), b"", LIMIT)


@pytest.mark.parametrize("version", [3, 4])
def test_packets_in_a_payload_are_bounded(version: int) -> None:
    body, content_type = wire.encode_payload(version, ["4x"] * 11)

    assert len(wire.decode_payload(version, body, content_type, 11)) == 11
    with pytest.raises(EngineWireError, match="more than 10"):
        wire.decode_payload(version, body, content_type, 10)
    binary, octets = wire.encode_payload(3, ["4x"] * 11, True)
    with pytest.raises(EngineWireError, match="more than 10"):
        wire.decode_payload(3, binary, octets, 10)


@pytest.mark.parametrize(
    "body", ["", ":", "4", "4:", "1:", "99999999999:4", "2:4", "-1:4", "1:9", "1:b", "٣:4ab", "1 :4"]
)
def test_broken_text_payloads_are_refused(body: str) -> None:
    with pytest.raises(EngineWireError):
        wire.decode_payload(3, body.encode(), b"text/plain", LIMIT)


@pytest.mark.parametrize(
    "body",
    [b"\x00", b"\x00\x05\xff4", b"\x02\x01\xff4", b"\x00\xff4", b"\x00\x01\xff\xfe", b"\x01\x01\xff\x05"],
)
def test_broken_binary_payloads_are_refused(body: bytes) -> None:
    with pytest.raises(EngineWireError):
        wire.decode_payload(3, body, b"application/octet-stream", LIMIT)


def test_opening_packet() -> None:
    new = json.loads(wire.open_packet(4, "id", ["websocket"], 25, 20, 1000)[1:])
    old = json.loads(wire.open_packet(3, "id", [], 0.3, 60, 1000)[1:])

    assert new == {
        "sid": "id",
        "upgrades": ["websocket"],
        "pingInterval": 25000,
        "pingTimeout": 20000,
        "maxPayload": 1000,
    }
    assert old == {"sid": "id", "upgrades": [], "pingInterval": 300, "pingTimeout": 60000}
