"""Frames of the console's socket."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.console import wire
from routing_app.console.wire import Ask, ConsoleWireError, Stop

pytestmark = pytest.mark.once

ids = st.integers(0, wire.MAX_ID)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(ids, st.text(), st.dictionaries(st.text(), values), st.booleans())
def test_a_question_is_read_as_it_was_written(id: int, topic: str, params: dict, watch: bool) -> None:
    frame = {"id": id, "topic": topic, "params": params, "watch": watch, "more": 1}

    assert wire.parse(json.dumps(frame)) == Ask(id, topic, params, watch)


@given(ids)
def test_an_end_is_read(id: int) -> None:
    assert wire.parse(json.dumps({"id": id, "stop": True})) == Stop(id)


@given(ids, values)
def test_data_and_errors_are_json(id: int, value: object) -> None:
    assert json.loads(wire.data(id, json.dumps(value))) == {"id": id, "data": value}
    assert json.loads(wire.error(id, 403, "no")) == {"id": id, "error": {"status": 403, "detail": "no"}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "1",
        "{}",
        '{"id": "1", "topic": "a"}',
        '{"id": true, "stop": true}',
        '{"id": -1, "stop": true}',
        '{"id": 1}',
        '{"id": 1, "topic": 2}',
        '{"id": 1, "topic": "a", "params": [1]}',
        '{"id": 1, "topic": "a", "watch": "yes"}',
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConsoleWireError):
        wire.parse(text)
