"""wire.py: the frames of the tokens protocol, and the addresses of a token."""

from __future__ import annotations

import json
import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.tokens import wire
from routing_app.tokens.wire import (
    BroadcastFrame,
    Echo,
    IgnoredFrame,
    LimitExceeded,
    RegisterToken,
    TokenWireError,
)

pytestmark = pytest.mark.once

LIMIT = 1000
ANY_TEXT = st.text(st.characters())  # lone surrogates and control characters included
TOKENS = st.text(st.sampled_from("ab/."), min_size=1, max_size=8)


def can_be_token(text: str) -> bool:
    return bool(text) and text == text.strip() and text.isprintable() and not set(text) & set(",|")


# --- what a client sends ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc1,group/,abc3|Hello", BroadcastFrame(("abc1", "group/", "abc3"), "Hello")),
        ("abc2|a|b", BroadcastFrame(("abc2",), "a|b")),
        ("abc2|", BroadcastFrame(("abc2",), "")),
        ("abc1| Hello ", BroadcastFrame(("abc1",), " Hello ")),
        ("|x", BroadcastFrame((), "x")),
        ("RegisterToken:abc1", RegisterToken("abc1")),
        ("RegisterToken: abc1 ", RegisterToken("abc1")),
        ("RegisterToken:a:b", RegisterToken("a:b")),
        ("Echo:message", Echo("message")),
        ("Echo:", Echo("")),
        ("Echo:a|b", Echo("a|b")),
        ("Echo: a:b:c ", Echo(" a:b:c ")),
        ("Echo:Echo:a", Echo("Echo:a")),
        ("echo:a|b", BroadcastFrame(("echo:a",), "b")),
        (" RegisterToken:a|b", BroadcastFrame(("RegisterToken:a",), "b")),
    ],
)
def test_frame_is_read(text: str, message: object) -> None:
    assert wire.parse(text, LIMIT) == message


@pytest.mark.parametrize(
    "text", ["", "hello", "hi abc2 there", "echo:x", " RegisterToken:x", "registertoken:x"]
)
def test_decision_7_text_without_bar_and_service_is_ignored(text: str) -> None:
    assert isinstance(wire.parse(text, LIMIT), IgnoredFrame)


def test_decision_8_services_come_before_the_bar() -> None:
    assert wire.parse("Echo:abc1|x", LIMIT) == Echo("abc1|x")
    assert isinstance(wire.parse("RegisterToken:a|b", LIMIT), IgnoredFrame)


def test_decision_9_echo_keeps_colons() -> None:
    assert wire.parse("Echo:a:b:c", LIMIT) == Echo("a:b:c")


@pytest.mark.parametrize(
    "value", ["", " ", "a,b", "a|b", "a\nb", "a\x00b", "a\u200bb", "a\ud800b", "a\u2028b"]
)
def test_decision_11_impossible_tokens_are_ignored(value: str) -> None:
    assert isinstance(wire.parse(f"RegisterToken:{value}", LIMIT), IgnoredFrame)


@pytest.mark.parametrize(
    "value", ["a", "a" * 255, "ключ", "日本", "😀", "a b", "group/item1", "group/", "/", "a:b"]
)
def test_token_of_any_script_is_taken(value: str) -> None:
    assert wire.parse(f"RegisterToken:{value}", LIMIT) == RegisterToken(value)


def test_decision_29_limits() -> None:
    with pytest.raises(LimitExceeded):
        wire.parse("RegisterToken:" + "a" * 256, LIMIT)
    with pytest.raises(LimitExceeded):
        wire.parse(",".join(map(str, range(1001))) + "|x", 1000)
    message = wire.parse(",".join(map(str, range(1000))) + ",,0, 1 |x", 1000)
    assert isinstance(message, BroadcastFrame)
    assert len(message.receivers) == 1000


# --- receivers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "receivers"),
    [
        ("abc1,abc3", ("abc1", "abc3")),
        (" abc1 ,\tabc3 ", ("abc1", "abc3")),
        (",,abc1,, ,", ("abc1",)),
        ("abc1,abc3,abc1", ("abc1", "abc3")),
        ("a b", ("a b",)),
        ("", ()),
        (" , ", ()),
    ],
)
def test_decision_2_list_is_split_stripped_and_distinct(text: str, receivers: tuple[str, ...]) -> None:
    assert wire.parse_receivers(text, LIMIT) == receivers


def test_decision_6_the_original_spelling_of_no_token_is_an_alias() -> None:
    assert wire.parse_receivers("unregstered, unregistered", LIMIT) == ("unregistered",)
    assert wire.check_token("unregstered") == "unregistered"


@pytest.mark.parametrize("name", ["unregistered", "unregstered", " unregistered "])
def test_decision_6_names_of_no_token_are_reserved(name: str) -> None:
    with pytest.raises(TokenWireError):
        wire.check_registrable(name)


def test_decision_34_errors_do_not_hold_the_token() -> None:
    with pytest.raises(TokenWireError) as error:
        wire.check_token("secret|secret")
    assert "secret" not in str(error.value)


def test_message_of_the_form_api_needs_a_bar() -> None:
    assert wire.parse_message("Echo:a|b", LIMIT) == BroadcastFrame(("Echo:a",), "b")
    with pytest.raises(TokenWireError):
        wire.parse_message("abc1", LIMIT)


# --- the handshake ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "token"),
    [
        (b"", "unregistered"),
        (b"RegisterToken=", "unregistered"),
        (b"RegisterToken=+", "unregistered"),
        (b"other=1", "unregistered"),
        (b"RegisterToken=abc1", "abc1"),
        (b"RegisterToken=x1&RegisterToken=x2", "x2"),
        (b"RegisterToken=x1&RegisterToken=", "x1"),
        (b"RegisterToken=group%2Fitem1&a=b", "group/item1"),
        (b"RegisterToken=%E6%97%A5", "日"),
        ("RegisterToken=日".encode(), "日"),
        (b"RegisterToken=unregstered", "unregistered"),
        (b"registertoken=abc1", "unregistered"),
    ],
)
def test_decision_15_last_token_of_the_query_that_is_not_empty(query: bytes, token: str) -> None:
    assert wire.query_token(query) == token


@pytest.mark.parametrize(
    "query",
    [b"RegisterToken=a,b", b"RegisterToken=a%7Cb", b"RegisterToken=%FF", b"RegisterToken=\xff", b"a\xff"],
)
def test_query_without_a_possible_token_is_an_error(query: bytes) -> None:
    with pytest.raises(TokenWireError):
        wire.query_token(query)


# --- addresses --------------------------------------------------------------------------------------------


def test_decision_5_one_address_for_the_token_and_one_per_ancestor() -> None:
    assert wire.addresses_of("abc1") == ("token:abc1",)
    assert wire.addresses_of("group/item1") == ("token:group/item1", "token:group/")
    assert wire.addresses_of("a/b/c") == ("token:a/b/c", "token:a/", "token:a/b/")


def test_token_that_ends_in_a_slash_has_an_address_of_its_own() -> None:
    assert "token:group/" in wire.addresses_of("group/")
    assert wire.own_address("group/") not in wire.addresses_of("group/item1")
    assert wire.own_address("abc1") == "token:abc1"


@given(receiver=TOKENS, token=TOKENS)
def test_decision_3_receiver_reaches_itself_and_with_a_final_slash_all_below(
    receiver: str, token: str
) -> None:
    matches = receiver == token or (receiver.endswith("/") and token.startswith(receiver))

    assert (wire.address_of(receiver) in wire.addresses_of(token)) == matches


@given(one=TOKENS, other=TOKENS)
def test_own_address_is_of_one_token_alone(one: str, other: str) -> None:
    assert (wire.own_address(one) in wire.addresses_of(other)) == (one == other)


# --- what a client gets -----------------------------------------------------------------------------------


def test_decision_1_payload_goes_out_as_it_is() -> None:
    assert wire.encode('a|b <b>&"q"\n', compat=False) == 'a|b <b>&"q"\n'


@pytest.mark.parametrize(
    ("payload", "frame"),
    [
        ("Hello", '"Hello"\n'),
        ('a|b <b>&"q"', '"a|b \\u003cb\\u003e\\u0026\\"q\\""\n'),
        ("", '""\n'),
        ("message", '"message"\n'),
        ("\u2028\u2029", '"\\u2028\\u2029"\n'),
        ("żółw 😀\u007f", '"żółw 😀\u007f"\n'),
        ("\\\n\r\t\x01", '"\\\\\\n\\r\\t\\u0001"\n'),
        ("\ud800", '"\\ufffd"\n'),
    ],
)
def test_compat_frame_is_written_as_by_the_original(payload: str, frame: str) -> None:
    assert wire.encode(payload, compat=True) == frame


def test_compat_listing_has_sorted_keys_and_no_spaces() -> None:
    assert wire.go_json({"group/item1": True, "abc1": False}) == '{"abc1":false,"group/item1":true}'


@pytest.mark.parametrize(
    ("message", "payload"),
    [
        ("Hello", "Hello"),
        ("", ""),
        ({"a": ["ż", 1]}, '{"a":["ż",1]}'),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
    ],
)
def test_published_json_is_text_or_json(message: object, payload: str) -> None:
    assert wire.payload_of(message) == payload


# --- anything at all --------------------------------------------------------------------------------------


@given(st.one_of(ANY_TEXT, st.builds(str.__add__, st.sampled_from([wire.REGISTER, wire.ECHO]), ANY_TEXT)))
def test_no_frame_raises_anything_but_a_wire_error(text: str) -> None:
    for function in (wire.check_token, wire.check_registrable):
        with suppress(TokenWireError):
            assert can_be_token(function(text))
    try:
        message = wire.parse(text, 3)
    except TokenWireError:
        return
    if isinstance(message, RegisterToken):
        assert can_be_token(message.token)
    if isinstance(message, BroadcastFrame):
        assert len(set(message.receivers)) == len(message.receivers) <= 3
        assert all(receiver == receiver.strip() != "" for receiver in message.receivers)


@given(st.one_of(st.binary(), st.binary().map(lambda data: b"RegisterToken=" + data)))
def test_no_query_string_raises_anything_but_a_wire_error(query: bytes) -> None:
    with suppress(TokenWireError):
        assert can_be_token(wire.query_token(query))


@given(st.lists(TOKENS, max_size=9, unique=True), ANY_TEXT)
def test_broadcast_survives_the_wire(receivers: list[str], payload: str) -> None:
    assert wire.parse(",".join(receivers) + "|" + payload, 9) == BroadcastFrame(tuple(receivers), payload)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_compat_frame_survives_json(payload: str) -> None:
    frame = wire.encode(payload, compat=True)

    assert frame.endswith("\n")
    assert json.loads(frame) == payload
    assert not set("<>&\u2028\u2029") & set(frame)


@given(st.text(string.printable))
def test_echo_survives_the_wire(text: str) -> None:
    assert wire.parse(wire.ECHO + text, LIMIT) == Echo(text)
