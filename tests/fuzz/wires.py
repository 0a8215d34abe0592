"""Targets: JSON, and the codec of each protocol. A target takes any bytes, and fails when a promise breaks.

A text frame is UTF-8 when it reaches a codec (`switchboard_server/frames.py` sees to it), so what is not is
replaced here.
"""

from __future__ import annotations

import json
from contextlib import suppress
from math import isinf
from typing import Any

import orjson

from routing_app.core import json as strict
from routing_app.events import wire as events
from routing_app.requests import wire as requests
from routing_app.rooms import wire as rooms
from routing_app.stream import wire as stream
from routing_app.tokens import wire as tokens
from sessions_app import wire as sessions

LIMIT = 10
"""Receivers, or ids, that one message may name."""


def text_of(data: bytes) -> str:
    """The bytes as a frame's text."""
    return data.decode("utf-8", "replace")


def fuzz_json(data: bytes) -> None:
    """Core's reader agrees with the standard library's, within its rules; what it reads can be written."""
    try:
        value = strict.loads(data)
    except strict.NotJSON:
        assert not standard_reads(data)
        return
    assert not strict.depth_exceeds(value, strict.MAX_DEPTH)
    assert value == json.loads(data)
    assert strict.loads(strict.dumps(value)) == value
    with suppress(strict.NotJSON):
        assert strict.dumps(strict.loads(data, surrogates=False)).encode()


def standard_reads(data: bytes) -> bool:
    """Does the standard library read it, all numbers finite, and not deep?"""
    try:
        value = json.loads(data.decode().removeprefix("\ufeff"), parse_float=finite, parse_constant=refuse)
        return not strict.depth_exceeds(value, strict.MAX_DEPTH)
    except (ValueError, RecursionError):
        return False


def finite(digits: str) -> float:
    """A number; ValueError for one that no double holds."""
    if isinf(number := float(digits)):
        raise ValueError(digits)
    return number


def refuse(name: str) -> Any:
    """ValueError."""
    raise ValueError(name)


def fuzz_tokens(data: bytes) -> None:
    """Frames, the form's messages and a handshake's query."""
    text = text_of(data)
    with suppress(tokens.LimitExceeded):
        frame = tokens.parse(text, LIMIT)
        if isinstance(frame, tokens.RegisterToken):
            assert tokens.check_token(frame.token) == frame.token
            assert tokens.parse(tokens.REGISTER + frame.token, LIMIT) == frame
            addresses = tokens.addresses_of(frame.token)
            assert len(set(addresses)) == len(addresses) == 1 + frame.token.count("/")
        elif isinstance(frame, tokens.BroadcastFrame):
            check_broadcast(frame)
    with suppress(tokens.TokenWireError):
        check_broadcast(tokens.parse_message(text, LIMIT))
    with suppress(tokens.TokenWireError):
        assert tokens.check_token(tokens.query_token(data)) == tokens.query_token(data)
    assert isinstance(tokens.query_last(data), str)
    assert json.loads(tokens.encode(text, compat=True)) == text


def check_broadcast(frame: tokens.BroadcastFrame) -> None:
    """Receivers are distinct, bounded and stripped; the frame is read again as the same."""
    assert len(set(frame.receivers)) == len(frame.receivers) <= LIMIT
    assert tokens.parse_message(",".join(frame.receivers) + "|" + frame.payload, LIMIT) == frame
    for receiver in frame.receivers:
        tokens.address_of(receiver)


def fuzz_rooms(data: bytes) -> None:
    """Frames of plain sockets, in each namespace."""
    try:
        name, arguments = rooms.parse_frame(text_of(data))
    except rooms.IgnoredEvent:
        return
    assert rooms.parse_frame(rooms.dump_frame([name, *arguments])) == (name, arguments)
    for namespace in rooms.NAMESPACES:
        with suppress(rooms.IgnoredEvent):
            check_room_event(rooms.parse(namespace, name, arguments))


def check_room_event(event: rooms.Event) -> None:
    """Names of rooms and nicknames can be stored, and are within their bounds."""
    if isinstance(event, rooms.Join | rooms.Leave | rooms.Clients | rooms.Notify):
        assert 0 < len(event.room) <= rooms.MAX_ROOM
        assert rooms.storable(event.room)
        assert rooms.room_name(event.room) == event.room
    if isinstance(event, rooms.Join) and event.name is not None:
        assert len(json.dumps(event.name, ensure_ascii=False)) <= rooms.MAX_NAME
        json.dumps(event.name, ensure_ascii=False).encode()


def fuzz_events(data: bytes) -> None:
    """Events, the answers to bad ones, references and tokens."""
    text = text_of(data)
    try:
        event = events.parse(text, LIMIT)
    except events.BadEvent as bad:
        json.loads(events.failed(bad.error, bad.id))
    else:
        assert events.parse(events.dumps(event.model_dump()), LIMIT) == event
        if isinstance(event, events.UserEvent | events.ChannelEvent | events.ClientEvent):
            assert 0 < len(event.ids) <= LIMIT
    with suppress(events.BadReference):
        kind, name, hex_id = events.reference(text)
        assert events.reference(f"{kind}:{name}:{hex_id}") == (kind, name, hex_id)
        root = events.root_of(text)
        assert root == (events.root_of(root) if root else "")
    events.bare_token(text)


def fuzz_requests(data: bytes) -> None:
    """Frames of the requests protocol; the object comes back with the control fields that were read."""
    codec = requests.Codec()
    try:
        first = codec.decode(text_of(data))
    except requests.RequestWireError:
        return
    again = codec.decode(codec.encode(first.message, first.direction, first.key))
    assert (again.direction, again.key, again.type) == (first.direction, first.key, first.type)
    ours = {codec.key, codec.direction}
    assert {k: v for k, v in again.message.items() if k not in ours} == {
        k: v for k, v in first.message.items() if k not in ours
    }
    requests.asks_for_receipt(first)


def fuzz_sessions(data: bytes) -> None:
    """A player's frames, and the bodies of `POST /sessions` and `POST /takeover`."""
    with suppress(sessions.Malformed):
        action = sessions.parse(text_of(data))
        assert sessions.parse(orjson.dumps({"action": action}).decode()) is action
    with suppress(sessions.BadRequest):
        wanted = sessions.parse_create(data)
        assert sessions.parse_create(orjson.dumps(sessions.members_of(wanted))) == wanted
    with suppress(sessions.BadRequest):
        both = sessions.parse_takeover(data)
        assert 0 < len(both[1]) <= sessions.MAX_VICTIMS
        assert sessions.parse_takeover(orjson.dumps(sessions.members_of(*both))) == both


def fuzz_stream_ids(data: bytes) -> None:
    """`Last-Event-ID`: what is read is written as an id that is read as the same."""
    with suppress(stream.NotAnId):
        for position in stream.decode(text_of(data)).values():
            word = stream.word("room:bus/a", position)
            # An epoch that is not UTF-8 is none of this server's, and longer when it is quoted again.
            if "\ufffd" not in position.epoch:
                assert stream.decode(word) == {stream.hash_of("room:bus/a"): position}
