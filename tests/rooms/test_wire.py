"""Events as clients write them: understood, or ignored with a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.rooms import wire
from routing_app.rooms.wire import (
    Clients,
    IgnoredEvent,
    Join,
    JoinRefused,
    Leave,
    Notify,
    NotifyEvent,
    Signal,
)

pytestmark = pytest.mark.once

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
names = st.sampled_from(
    ["JOIN", "LEAVE", "NOTIFY", "CLIENTS", "BROADCAST", "RTCSIGNAL", *wire.TRIGGER_EVENTS]
)


@pytest.mark.parametrize("as_text", [True, False], ids=["string", "object"])
@pytest.mark.parametrize(
    ("name", "payload", "event"),
    [
        ("JOIN", {"room": "r", "name": "n"}, Join("r", "n")),
        ("JOIN", {"room": 5, "name": ["odd"]}, Join("5", ["odd"])),
        ("LEAVE", {"room": "r", "name": "layout_x"}, Leave("r")),
        ("CLIENTS", {"room": "r"}, Clients("r")),
        ("NOTIFY", {"room": "r", "message": {"a": 1}, "sender": "x"}, Notify("r", "EVENT", {"a": 1})),
        ("NOTIFY", {"room": "r", "message": None}, Notify("r", "EVENT", None)),
        ("NOTIFY", {"room": "r"}, Notify("r", "EVENT", None, {"room": "r"})),
        ("NOTIFY", {"room": 5, "message": 1}, Notify("5", "EVENT", 1, {"room": 5, "message": 1})),
    ],
)
def test_layout(name: str, payload: Any, event: Any, as_text: bool) -> None:
    argument = json.dumps(payload) if as_text else payload

    assert wire.parse("layout", name, [argument]) == wire.parse("bus", name, [argument, "more"]) == event


@pytest.mark.parametrize(
    ("name", "arguments", "event"),
    [
        ("JOIN", ["doc"], Join("doc")),
        ("LEAVE", ["doc"], Leave("doc")),
        ("BROADCAST_EVENTS", ["doc", {"e": 1}, "dropped"], Notify("doc", "EVENTS", {"e": 1})),
        ("BROADCAST_UPDATES", ["doc", 5], Notify("doc", "UPDATES", 5)),
        ("BROADCAST_STATUS", ["doc"], Notify("doc", "STATUS", None)),
    ],
)
def test_trigger(name: str, arguments: list[Any], event: Any) -> None:
    assert wire.parse("trigger", name, arguments) == event


@pytest.mark.parametrize(
    ("name", "argument", "event"),
    [
        ("JOIN", "L", Join("L")),
        ("LEAVE", "L", Leave("L")),
        ("BROADCAST", {"message": None, "lobbyId": "other"}, NotifyEvent(None)),
        ("RTCSIGNAL", {"to": "peer", "sdp": [1]}, Signal("peer", {"to": "peer", "sdp": [1]})),
    ],
)
def test_lobby(name: str, argument: Any, event: Any) -> None:
    assert wire.parse("lobby", name, [argument]) == event


@pytest.mark.parametrize("namespace", wire.NAMESPACES)
@pytest.mark.parametrize("argument", ["null", "", "{", "[1]", '"text"', None, [], {}, {"room": None}, True])
@pytest.mark.parametrize("name", ["JOIN", "LEAVE", "NOTIFY", "CLIENTS", "BROADCAST", "RTCSIGNAL"])
def test_inputs_that_crash_the_original_are_ignored_or_harmless(
    namespace: str, name: str, argument: Any
) -> None:
    try:
        event = wire.parse(namespace, name, [argument])
    except IgnoredEvent:
        return
    # A string is a good name for a room where the namespace takes names.
    assert namespace in ("trigger", "lobby")
    assert event in (Join(argument), Leave(argument))


@given(st.sampled_from(wire.NAMESPACES), names | st.text() | values, st.lists(values, max_size=3))
def test_any_event_is_understood_or_ignored(namespace: str, name: Any, arguments: list[Any]) -> None:
    try:
        event = wire.parse(namespace, name, arguments)
    except IgnoredEvent:
        return
    if isinstance(event, Join | Leave | Clients | Notify):
        assert 0 < len(event.room) <= wire.MAX_ROOM
        event.room.encode()


@pytest.mark.parametrize(
    "name",
    ["x" * 256, "a\x00b", "a\nb", "", None, True, float("inf"), {}, []],
    ids=lambda name: repr(name)[:12],
)
def test_names_that_no_room_can_have(name: Any) -> None:
    with pytest.raises(JoinRefused):
        wire.room_name(name)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("\ud83d", "\ufffd"),
        ("a\udc00b", "a\ufffdb"),
        (5, "5"),
        (1.5, "1.5"),
        (-0.0, "0"),
        (1.0, "1"),
        (-2.50, "-2.5"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-7"),
        (123456789012345680.0, "123456789012345680"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.25e300, "1.25e+300"),
    ],
)
def test_rooms_are_named_as_javascript_writes_them(value: Any, name: str) -> None:
    assert wire.room_name(value) == name


@pytest.mark.parametrize("name", ["x" * 255, "5", "all.contexts", "a/b", "é€ 𝄞", "..", "%2F"])
def test_names_that_rooms_have(name: str) -> None:
    assert wire.room_name(name) == name


@pytest.mark.parametrize(
    "nickname",
    [
        *(None, False, 0, "", "\x00", ["\x00"], "x" * 300),
        *(float("nan"), float("inf"), {"n": [float("-inf")]}),
    ],
    ids=lambda name: repr(name)[:12],
)
def test_nicknames_that_are_none(nickname: Any) -> None:
    with pytest.raises(IgnoredEvent):
        wire.parse("layout", "JOIN", [{"room": "r", "name": nickname}])


def test_half_a_character_in_a_nickname_is_replaced() -> None:
    event = wire.parse("layout", "JOIN", [{"room": "r", "name": ["caf\ud83d", {"\udc00": "\U0001f600"}]}])

    assert event == Join("r", ["caf\ufffd", {"\ufffd": "\U0001f600"}])


@pytest.mark.parametrize("nickname", ["x" * 253, "é" * 253, "日本" * 100, "a b", {"n": 1}, [], 1.5, True])
def test_nicknames_that_are(nickname: Any) -> None:
    assert wire.parse("layout", "JOIN", [{"room": "r", "name": nickname}]) == Join("r", nickname)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_javascript_does_not_read_are_ignored(number: str) -> None:
    with pytest.raises(IgnoredEvent):
        wire.parse("layout", "NOTIFY", [f'{{"room":"r","message":{number}}}'])
    with pytest.raises(IgnoredEvent):
        wire.parse_frame(f'["NOTIFY",{{"room":"r","message":{number}}}]')


@pytest.mark.parametrize("text", ["", "null", "{}", '"x"', "[]", "[1", "[" * 100_000, "JOIN"])
def test_plain_frames_that_are_no_event(text: str) -> None:
    with pytest.raises(IgnoredEvent):
        wire.parse_frame(text)


@given(st.text(), st.lists(values, max_size=3))
def test_plain_frames_are_events(name: str, arguments: list[Any]) -> None:
    text = json.dumps([name, *arguments])

    assert repr(wire.parse_frame(text)) == repr((name, json.loads(text)[1:]))
