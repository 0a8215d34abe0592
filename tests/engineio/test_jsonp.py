"""Scripts and forms of JSONP."""

from __future__ import annotations

import json
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.engineio import jsonp
from routing_app.engineio.wire import BINARY_TYPE, TEXT_TYPE, EngineWireError, Payload

pytestmark = pytest.mark.once


@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_a_script_is_ascii_and_holds_the_payload(text: str) -> None:
    body, content_type = jsonp.as_script("7", Payload(text.encode(), TEXT_TYPE))

    script = body.decode("ascii")
    assert script.startswith("___eio[7](")
    assert script.endswith(");")
    assert json.loads(script.removeprefix("___eio[7](").removesuffix(");")) == text
    assert content_type == b"text/javascript; charset=UTF-8"
    assert not {"\n", "\r"} & set(script)


def test_a_binary_payload_has_no_script() -> None:
    with pytest.raises(EngineWireError):
        jsonp.as_script("0", Payload(b"\x00\x01\xff6", BINARY_TYPE))


@pytest.mark.parametrize(
    ("j", "callback"), [("0", "0"), ("12", "12"), ("0](alert(1)", "01"), ("x", ""), ("", "")]
)
def test_a_callback_is_digits(j: str, callback: str) -> None:
    assert jsonp.callback_of(j) == callback


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("4hello", "4hello"),
        (r'42["a\\n"]', r'42["a\n"]'),  # a break within JSON is an escape already: it was escaped once more
        (r"4a\nb", "4a\nb"),
        (r"4\t\\", r"4\t\\"),
        ("4é€𝄞 +&=%", "4é€𝄞 +&=%"),
    ],
)
def test_a_form_holds_a_payload(written: str, meant: str) -> None:
    assert jsonp.payload_of(f"d={quote_plus(written)}".encode()).decode() == meant


@pytest.mark.parametrize("form", [b"", b"d", b"x=1", b"d=1&d=2", b"d=%ff", b"\xff", b"&".join([b"x=1"] * 20)])
def test_a_form_without_one_payload_is_refused(form: bytes) -> None:
    try:
        payload = jsonp.payload_of(form)
    except EngineWireError:
        return
    assert payload == b""
