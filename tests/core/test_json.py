"""The one reader of JSON: the standard library's values, strictly, within bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.json import MAX_DEPTH, Decoder, NotJSON, deeper, loads

pytestmark = pytest.mark.once

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES, st.booleans())
def test_a_value_is_read_as_by_the_standard_library(value: Any, ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii)

    assert repr(loads(text)) == repr(loads(text.encode())) == repr(json.loads(text))


@given(st.text(alphabet='0123456789.eE+-[]{}:,"\\u d8fantrls\ufeff'))
def test_any_text_is_refused_or_read_as_the_standard_library_reads_it(text: str) -> None:
    try:
        value = loads(text)
    except NotJSON:
        return
    assert repr(value) == repr(json.loads(text.removeprefix("\ufeff")))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.7976931348623157e308", 1.7976931348623157e308),
        ("1" + "0" * 308, 10**308),
        ("-1" + "0" * 308, -(10**308)),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775809", -(2**63) - 1),
        ("1e-999", 0.0),
        ("-0.0", -0.0),
        ('{"a":1,"b":2,"a":3}', {"a": 3, "b": 2}),
        ('"\\ud83d"', "\ud83d"),
        ('"\\u0000"', "\0"),
        ('\ufeff{"a":"\ufeff"}', {"a": "\ufeff"}),
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_json_is_read(text: str, value: Any) -> None:
    assert repr(loads(text)) == repr(value)
    assert repr(loads(text.encode())) == repr(value)


REFUSED = {
    "a float beyond double": "1e999",
    "the same below zero": "-1e999",
    "just beyond double": "1.7976931348623159e308",
    "many digits and a point": "9" * 400 + ".5",
    "an integer beyond double": "1" + "0" * 309,
    "an integer of 5,000 digits": "1" * 5000,
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
    "too deep": "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
    "objects too deep": '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1),
    "very deep": "[" * 100_000,
    "two byte order marks": "\ufeff\ufeff1",
    "a byte order mark within": "[\ufeff1]",
    "nothing": "",
    "two values": "1 2",
    "a comma too many": "[1,]",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_other_text_is_refused(text: str) -> None:
    for data in (text, text.encode(), f'{{"a":{text}}}'):
        with pytest.raises(NotJSON):
            loads(data)
    with pytest.raises(json.JSONDecodeError):
        json.loads(text, cls=Decoder)


@pytest.mark.parametrize(
    "data", [b'"\xff"', b'"\xed\xa0\x80"', '"a"'.encode("utf-16"), '"a"'.encode("utf-32-le")]
)
def test_bytes_are_utf_8(data: bytes) -> None:
    with pytest.raises(NotJSON):
        loads(data)


@pytest.mark.parametrize(
    "text", ['"\\ud83d"', '{"\\udc00":1}', '["\\ud83d", 123456789012345678901234567890]']
)
def test_halves_of_pairs_may_be_refused(text: str) -> None:
    with pytest.raises(NotJSON):
        loads(text, surrogates=False)
    assert loads('"\\ud83d\\ude00"', surrogates=False) == "\U0001f600"


def nested(levels: int, item: str) -> str:
    return f"[{item}," * levels + item + "]" * levels


@pytest.mark.parametrize(
    "item", ["1", '"]"', '"["', '"[]"', '"\\""', '"]\\\\"', '"\\\\\\"["', '"\\n\\""', "{}"]
)
def test_no_text_hides_how_deep_it_is(item: str) -> None:
    inner = item == "{}"
    fits, deep = (nested(levels - inner, item) for levels in (MAX_DEPTH, MAX_DEPTH + 1))

    assert loads(fits)
    with pytest.raises(NotJSON, match="Nested deeper"):
        loads(deep)


@given(VALUES, st.integers(1, 4))
def test_depth_is_that_of_the_value(value: Any, levels: int) -> None:
    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    assert deeper(json.dumps(value).encode(), value, levels) == (depth(value) > levels)
