"""Frames and bodies that are understood or refused, and the exact frames that are sent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions_app import wire
from sessions_app.wire import Action, BadRequest, Malformed, parse, parse_create, parse_takeover

pytestmark = pytest.mark.once

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


def test_the_five_messages_are_strict_json() -> None:
    texts = [wire.OK, wire.EXPIRED, wire.PING, wire.TERMINATE, wire.take_over('TV "2"')]

    assert [json.loads(text) for text in texts] == [
        {"action": "OK"},
        {"action": "EXPIRED"},
        {"action": "PING"},
        {"action": "TERMINATE"},
        {"action": "TAKE_OVER", "sessionName": 'TV "2"'},
    ]


@pytest.mark.parametrize("action", list(Action))
def test_actions_of_a_player_are_understood_with_more_members_too(action: Action) -> None:
    assert parse(f' {{"action": "{action}", "more": [1]}} ') is action


@given(st.text() | JSON.map(json.dumps))
def test_every_other_text_is_malformed(text: str) -> None:
    try:
        action = parse(text)
    except Malformed:
        return
    assert json.loads(text)["action"] == action


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_every_other_body_is_a_bad_request(body: bytes) -> None:
    for read in (parse_create, parse_takeover):
        try:
            read(body)
        except BadRequest:
            continue
        assert {"offerId", "tag"} & set(json.loads(body))


@given(
    name=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=100),
    offer=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=255),
)
def test_clean_names_arrive_as_they_were_sent(name: str, offer: str) -> None:
    wanted = parse_create(json.dumps({"sessionName": name, "offerId": offer}).encode())

    assert (wanted.name, wanted.offer_id, wanted.tag) == (name, offer, "")
    assert wanted.display_name == (name or offer)


def test_victims_are_named_once() -> None:
    body = json.dumps({"tag": "live", "sessionIds": ["a", "b", "a"]}).encode()

    assert parse_takeover(body)[1] == ("a", "b")
