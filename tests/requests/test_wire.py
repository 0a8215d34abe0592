"""The codec, for any object and any string."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from switchboard_client import wire as client_wire

from routing_app.core.delivery.publication import Publication
from routing_app.core.json import dumps
from routing_app.requests.consumer import DeliveryEncoder
from routing_app.requests.wire import ABSENT, Codec, Direction, Inbound, RequestWireError
from routing_app.requests.wire import name as name_of

pytestmark = pytest.mark.once

codec = Codec()
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | numbers | st.text()
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["key", "direction", "type", "receipt"]) | st.text(max_size=9)
messages = st.dictionaries(names, values, max_size=5)
directions = st.sampled_from(list(Direction))


@given(messages, directions, values | st.just(ABSENT))
def test_encoded_packets_are_decoded(message: dict[str, Any], direction: Direction, key: Any) -> None:
    inbound = codec.decode(codec.encode(message, direction, key))

    assert inbound.direction is direction
    assert inbound.key == key or key is ABSENT
    assert ("key" in inbound.message) == (key is not ABSENT)
    rest = {name: value for name, value in message.items() if name not in ("key", "direction")}
    assert {k: v for k, v in inbound.message.items() if k not in ("key", "direction")} == rest


@given(st.text() | st.binary().map(repr) | values.map(json.dumps))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(RequestWireError):
        assert isinstance(codec.decode(text).message, dict)


@given(messages, directions)
def test_the_python_client_reads_the_frames_of_the_server(
    message: dict[str, Any], direction: Direction
) -> None:
    read_as, read = client_wire.decode(codec.encode(message, direction, "k"))

    assert (read_as, read["key"]) == (direction.value, "k")


@given(values)
def test_client_and_server_agree_on_the_meaning_of_a_direction(direction: Any) -> None:
    text = json.dumps({"direction": direction})
    try:
        ours: str | None = codec.decode(text).direction.value
    except RequestWireError:
        ours = None
    try:
        theirs: str | None = client_wire.decode(text)[0]
    except ValueError:
        theirs = None
    assert ours == theirs


@given(st.text(st.characters(categories=["Cs", "L"])))
def test_texts_without_utf_8_survive(text: str) -> None:
    encoded = codec.encode({"t": text}, Direction.REPLY, text)

    encoded.encode()
    assert codec.decode(encoded).message == {"t": text, "key": text, "direction": "REPLY"}


@pytest.mark.parametrize(
    ("key", "name"),
    [("a", "a"), (1, "1"), (1.0, "1"), (1.5, "1.5"), (0, ""), (True, ""), (None, ""), ([], ""), ({}, "")],
)
def test_names_of_keys_and_types(key: Any, name: str) -> None:
    assert name_of(key) == name


def test_other_names_of_fields() -> None:
    other = Codec(key="id", direction="kind", type="topic")
    inbound = other.decode('{"id": 1, "kind": "request", "topic": "t", "key": "mine", "direction": "north"}')

    assert (inbound.direction, inbound.key, inbound.type) == (Direction.REQUEST, 1, "t")
    assert json.loads(other.encode({"key": "mine"}, Direction.REPLY, 1)) == {
        "key": "mine",
        "id": 1,
        "kind": "REPLY",
    }


@pytest.mark.parametrize("message", [{"direction": "north"}, {"direction": "REPLY"}])
def test_a_message_does_not_bring_a_direction(message: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="protocol's own"):
        codec.message(message)


def test_a_number_that_json_has_not_is_not_sent() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        codec.encode({"n": float("nan")}, Direction.REPLY)


def test_deliveries_name_the_event_where_it_is_no_ordinary_message() -> None:
    encode = DeliveryEncoder()
    plain = Publication(("channel:a",), {"x": 1})
    assert json.loads(encode(plain, "channel:a") or "") == {
        "type": "delivery",
        "address": "channel:a",
        "message": {"x": 1},
    }
    joined = Publication(("room:lobby/a",), ["id"], "JOINED")
    assert json.loads(encode(joined, "room:lobby/a") or "")["event"] == "JOINED"


WRITTEN = {
    "null": (None, "null"),
    "a number beyond 64 bits": (2**70, str(2**70)),
    "a key that is a number": ({1: True}, '{"1":true}'),
    "a lone surrogate": ("\ud800", '"\\ud800"'),
    "letters": ("é/\u2028", '"é/\u2028"'),
    "a tuple": ((1, 2), "[1,2]"),
    "a name of its own": (Direction.REPLY, '"REPLY"'),
    "deep": (DEEP := json.loads("[" * 400 + "]" * 400), json.dumps(DEEP)),
}


@pytest.mark.parametrize(("value", "text"), WRITTEN.values(), ids=WRITTEN)
def test_values_are_written_as_the_standard_library_writes_them(value: Any, text: str) -> None:
    assert dumps(value) == text


REFUSED: dict[str, Any] = {
    "not a number": float("nan"),
    "infinite": [float("inf")],
    "a set": {1},
    "a date": date(2026, 1, 1),
    "bytes": b"x",
    "a dataclass": Inbound(Direction.REPLY, {}, 1, ""),
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_values_without_a_form_in_json_are_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        dumps({"value": value})
