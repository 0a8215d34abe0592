"""The wire by itself: the page's validation items, ids and frames, and strings that nobody thought of."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.events import wire

pytestmark = pytest.mark.once

HEX = "672b35cec309e5ef8469c372"

floats = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | floats | st.text(max_size=20),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=4,
)
event_types = st.sampled_from(["connection", "walker", "user", "channel", "client", "change_user", "nope"])
almost_events = st.fixed_dictionaries(
    {"type": event_types | json_values},
    optional={
        "walker": json_values,
        "node": json_values,
        "response": json_values,
        "context": json_values,
        "root_ids": json_values,
        "channel_ids": json_values,
        "client_ids": json_values,
        "data": json_values,
        "token": json_values,
        "id": json_values,
    },
)


def refusal(text: str, max_ids: int = 1000) -> Any:
    with pytest.raises(wire.BadEvent) as caught:
        wire.parse(text, max_ids)
    return caught.value.error


@pytest.mark.parametrize(
    ("event", "type", "loc"),
    [
        ({"x": 1}, "union_tag_not_found", ["event"]),
        ({"type": "nope"}, "union_tag_invalid", ["event"]),
        ([], "model_attributes_type", ["event"]),
        ("text", "model_attributes_type", ["event"]),
        (1, "model_attributes_type", ["event"]),
        ({"type": "walker"}, "missing", ["event", "walker", "walker"]),
        ({"type": "walker", "walker": "w", "context": 1}, "dict_type", ["event", "walker", "context"]),
        ({"type": "walker", "walker": "w", "node": 1}, "string_type", ["event", "walker", "node"]),
        ({"type": "user", "root_ids": [], "data": {}}, "too_short", ["event", "user", "root_ids"]),
        ({"type": "client", "client_ids": "x", "data": {}}, "list_type", ["event", "client", "client_ids"]),
        ({"type": "client", "client_ids": ["x"], "data": "x"}, "dict_type", ["event", "client", "data"]),
        ({"type": "channel", "channel_ids": ["x"]}, "missing", ["event", "channel", "data"]),
        (
            {"type": "channel", "channel_ids": [1], "data": {}},
            "string_type",
            ["event", "channel", "channel_ids", 0],
        ),
        ({"type": "change_user", "token": 1}, "string_type", ["event", "change_user", "token"]),
    ],
)
def test_validation_items_are_those_of_the_original(event: Any, type: str, loc: list[str]):
    first = refusal(json.dumps(event))[0]

    assert (first["type"], first["loc"]) == (type, loc)
    assert {"type", "loc", "msg", "input", "url"} <= set(first)


def test_an_unknown_type_is_told_the_known_ones():
    assert (
        "'connection', 'walker', 'user', 'channel', 'client', 'change_user'"
        in refusal('{"type": "nope"}')[0]["msg"]
    )


@pytest.mark.parametrize("text", ["", "{", "nope", '{"type": NaN}', '"\\ud800"', "[" * 5000, "\x00"])
def test_text_that_is_no_json_is_answered_like_the_original(text: str):
    (line,) = refusal(text)

    assert line.startswith("json.decoder.JSONDecodeError: ")
    assert line.endswith("\n")


def test_depth_is_bounded_and_brackets_in_text_are_no_depth():
    deep = {"type": "channel", "channel_ids": ["c"], "data": {"x": json.loads("[" * 98 + "]" * 98)}}
    deeper = {**deep, "data": {"x": json.loads("[" * 99 + "]" * 99)}}
    flat = {**deep, "data": {"x": "[" * 5000, "y": [{}] * 300}}

    assert wire.parse(json.dumps(deep), 10)
    assert wire.parse(json.dumps(flat), 10)
    assert refusal(json.dumps(deeper)) == ["ValueError: nested deeper than 100 levels\n"]


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**40])
def test_a_number_that_would_be_rounded_is_refused(number: int):
    event = f'{{"type": "channel", "channel_ids": ["c"], "data": {{"n": {number}}}}}'

    assert refusal(event) == ["ValueError: an integer has more than 64 bits\n"]


def test_many_digits_that_are_not_one_integer_pass():
    event = {"type": "channel", "channel_ids": ["1" * 40], "data": {"n": 2**64 - 1, "m": -(2**63), "f": 1e25}}

    assert wire.parse(json.dumps(event), 1)


def test_one_event_names_no_more_receivers_than_allowed():
    event = json.dumps({"type": "client", "client_ids": ["a", "b", "c"], "data": {}})

    assert wire.parse(event, 3)
    assert refusal(event, 2)[0]["type"] == "too_long"


def test_a_list_of_wrong_ids_is_answered_with_one_item():
    event = json.dumps({"type": "client", "client_ids": [1] * 10_000, "data": {}})

    assert len(refusal(event, 100_000)) == 1


def test_defaults_and_unknown_keys_are_the_original_s():
    event = wire.parse('{"type": "walker", "walker": "w", "more": 1}', 1)

    assert isinstance(event, wire.WalkerEvent)
    assert (event.node, event.response, event.context, event.id) == (None, False, {}, None)
    assert wire.parse('{"type": "change_user"}', 1) == wire.ChangeUserEvent(type="change_user", token=None)


@given(almost_events | json_values)
def test_parse_returns_an_event_or_raises_bad_event_with_an_answer(value: Any):
    text = json.dumps(value)
    try:
        answer = wire.parse(text, 10).type
    except wire.BadEvent as bad:
        answer = json.loads(wire.failed(bad.error, bad.id))["error"]

    assert answer


@given(st.text())
def test_any_text_is_an_event_or_a_bad_event(text: str):
    assert refusal(text)


@given(st.dictionaries(st.text(), json_values), st.lists(st.text(), min_size=1, max_size=5))
def test_data_and_ids_come_through_unchanged(data: dict[str, Any], ids: list[str]):
    text = wire.dumps({"type": "channel", "channel_ids": ids, "data": data})
    event = wire.parse(text, 10)

    assert isinstance(event, wire.ChannelEvent)
    assert event.ids == ids
    assert event.data == json.loads(text)["data"]


@pytest.mark.parametrize("text", [f"n::{HEX}", f"N::{HEX.upper()}", f"n:Root:{HEX}", f"n:a b:{HEX}"])
def test_references_to_one_root_are_equal(text: str):
    assert wire.root_of(text) == f"n::{HEX}"


@pytest.mark.parametrize("kind", "ewo")
def test_references_to_other_things_are_valid_and_no_root(kind: str):
    assert wire.root_of(f"{kind}::{HEX}") == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bogus",
        HEX,
        f"x::{HEX}",
        f"n::{HEX}0",
        f"n::{HEX}\n",
        f"n:{HEX}",
        f"n:a:b:{HEX}",
        "n::" + "٣" * 24,
    ],
)
def test_a_value_that_is_no_reference_is_named_in_the_error(text: str):
    with pytest.raises(wire.BadReference) as caught:
        wire.root_of(text)
    assert str(caught.value) == f"[{text}] is not a valid reference!"


@pytest.mark.parametrize("text", ["abc", "Bearer abc", "bearer abc", "BEARER  abc", " Bearer abc "])
def test_a_token_may_stand_with_bearer_or_alone(text: str):
    assert wire.bare_token(text) == "abc"


def test_frames_are_compact_and_in_the_documented_shape():
    assert wire.connection("c", "n::1", "t") == (
        '{"type":"connection","data":{"client_id":"c","root_id":"n::1","channel_id":"t"}}'
    )
    assert wire.envelope([]) == '{"status":200,"reports":[]}'
    assert wire.envelope([1], id=0) == '{"status":200,"reports":[1],"id":0}'
    assert wire.refused("walker", "no") == '{"type":"walker","error":"no"}'
    assert wire.failed(["no\n"]) == '{"error":["no\\n"]}'


def test_values_that_only_python_can_hold_still_have_a_frame():
    assert wire.dumps({"n": 2**70}) == f'{{"n":{2**70}}}'
    assert wire.dumps("\ud800") == '"\ud800"'
