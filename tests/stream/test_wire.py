"""Events as bytes, ids as positions, and the progress of a connection."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.delivery.publication import Position, Publication
from routing_app.stream import wire
from routing_app.stream.progress import Progress
from tests.stream.reader import Event, Parser

pytestmark = pytest.mark.once

addresses = st.text(min_size=1, max_size=40).map("token:{}".format)
epochs = st.text(min_size=1, max_size=20)
positions = st.builds(Position, epochs, st.integers(0, 2**53 - 1))
A, B = "token:a", "token:b"


def events_of(data: bytes) -> tuple[list[Event], Parser]:
    parser = Parser()
    found = [parser.feed(line) for line in data.decode().split("\n")[:-1]]
    return [event for event in found if event is not None], parser


@given(st.dictionaries(addresses, st.none() | positions, min_size=1, max_size=20))
def test_an_id_tells_the_position_of_every_address(held: dict[str, Position | None]):
    id = wire.encode(held)
    assert id.isascii()
    assert id.isprintable()
    found = wire.decode(id)
    assert {one: found.get(wire.hash_of(one)) for one in held} == held


@given(st.text() | st.text(alphabet="0123456789abcdef:,%-"))
def test_any_other_string_is_refused_or_read(text: str):
    try:
        found = wire.decode(text)
    except wire.NotAnId:
        return
    assert all(0 <= position.offset < 2**53 for position in found.values())


WORD = wire.word(A, Position("e", 1))
NO_IDS = {
    "nothing": "",
    "a word": "x",
    "a comma in the end": f"{WORD},",
    "no comma between": f"{WORD}{WORD}",
    "a third colon": f"{WORD}:1",
    "a negative offset": WORD.replace(":1", ":-1"),
    "an offset beyond 2^53": WORD.replace(":1", f":{2**53}"),
    "capitals": WORD.upper(),
    "a space": f" {WORD}",
    "twice as much as any id has": ",".join([WORD] * 2000),
}


@pytest.mark.parametrize("id", NO_IDS.values(), ids=NO_IDS)
def test_what_the_server_has_not_written_is_no_id(id: str):
    with pytest.raises(wire.NotAnId):
        wire.decode(id)


leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text()
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)


@given(values.filter(lambda value: "Infinity" not in json.dumps(value)), st.text(), st.none() | positions)
def test_an_event_holds_any_message(message: Any, sender: str, position: Position | None):
    placed = None if position is None else {A: position}
    publication = Publication((A,), message, sender=sender, positions=placed)
    [event], parser = events_of(wire.event(b"id", wire.data(publication, A)))
    assert (event.name, event.id, parser.last_event_id) == ("message", "id", "id")
    epoch, offset = (None, None) if position is None else position
    fields = {"address": A, "message": message, "offset": offset, "epoch": epoch, "sender": sender}
    assert event.data == json.loads(json.dumps(fields))


def test_what_is_no_ordinary_message_has_its_event():
    assert json.loads(wire.data(Publication((A,), [1], "JOINED"), A))["event"] == "JOINED"


def test_a_stream_begins_with_a_position():
    events, parser = events_of(wire.opening(b"id", []))
    assert (events, parser.last_event_id, parser.retry) == ([], "id", 1000)


def test_a_stream_that_has_missed_messages_begins_with_a_gap():
    events, parser = events_of(wire.opening(b"id", [A]))
    assert events == [Event("gap", "id", {"addresses": [A]})]
    assert parser.retry == 1000


# --- progress ---------------------------------------------------------------------------------------------


def at(progress: Progress) -> dict[str, Position]:
    found = wire.decode(progress.id.decode())
    return {one: found[wire.hash_of(one)] for one in progress.addresses if wire.hash_of(one) in found}


def test_positions_add_up():
    progress = Progress({A: Position("e", 3), B: None})
    assert at(progress) == {A: Position("e", 3)}
    progress.advance({B: Position("f", 9)})
    progress.advance({A: Position("e", 4), B: Position("f", 10)})
    assert at(progress) == {A: Position("e", 4), B: Position("f", 10)}
    progress.advance({A: Position("g", 1)})
    progress.advance({"token:other": Position("g", 1)})
    assert at(progress) == {A: Position("g", 1), B: Position("f", 10)}


def test_a_message_to_several_does_not_cover_what_was_not_sent():
    progress = Progress({A: Position("e", 0), B: Position("f", 4)})
    progress.advance({A: Position("e", 1), B: Position("f", 7)})
    assert at(progress) == {A: Position("e", 1), B: Position("f", 4)}
    for offset in (5, 6, 8):  # the seventh has come already
        progress.advance({B: Position("f", offset)})
        assert at(progress)[B].offset == offset
    progress.advance({B: Position("f", 6)})
    assert at(progress)[B].offset == 8


def test_behind_a_gap_any_offset_follows():
    progress = Progress({A: Position("e", 1), B: Position("f", 1)})
    progress.jump()
    assert at(progress) == {A: Position("e", 1), B: Position("f", 1)}
    progress.advance({A: Position("e", 5), B: Position("f", 6)})
    assert at(progress) == {A: Position("e", 5), B: Position("f", 6)}
    progress.advance({A: Position("e", 9), B: Position("f", 9)})
    assert at(progress) == {A: Position("e", 5), B: Position("f", 6)}
