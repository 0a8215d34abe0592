"""The one reader of JSON, and a writer: all input, by socket, by HTTP or by form, is read by one rule.

RFC 8259, strictly, with four choices that it leaves open (sections 4, 6, 8.1, 8.2 and 9):

* A number is one that a double can hold: `1e999` is refused as `Infinity` and `NaN` are, since no client
  could be told it. Integers within that are exact.
* Bytes are UTF-8. One byte order mark at the start is ignored.
* A value is nested at most MAX_DEPTH levels, so that a writer never runs out of stack.
* Of equal names in an object the last one counts. Half of a surrogate pair (`"\\ud800"`) may be refused.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterable
from typing import Any, Final

import orjson

MAX_DEPTH: Final = 500
"""Levels of nesting; CPython 3.11 follows 1,000, those of the caller's own frames included."""


class NotJSON(json.JSONDecodeError):
    """A value that is not JSON by the rule of this module; the message never holds it."""


def loads(data: bytes | str, *, surrogates: bool = True) -> Any:
    """The value of a JSON string; `surrogates` says if halves of pairs may be in it. Raises NotJSON."""
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    raw = raw.removeprefix(BOM_UTF8)
    try:
        value = _fast(raw)
        whole = True
    except orjson.JSONDecodeError:
        value = _exact(raw, "strict" if isinstance(data, bytes) else "surrogatepass")
        whole = surrogates
    if deeper(raw, value, MAX_DEPTH):
        raise NotJSON(f"Nested deeper than {MAX_DEPTH} levels", "", 0)
    if not whole and _has_half_a_pair(value):
        raise NotJSON("Half of a surrogate pair", "", 0)
    return value


def dumps(value: Any) -> str:
    """JSON without spaces, readable where that can be encoded. Raises TypeError or ValueError.

    By orjson, which takes a tenth of the time. The standard library has the last word where orjson refuses a
    value, or writes `null`: that stands for NaN, too, which is refused.
    """
    try:
        data = orjson.dumps(value, option=_PLAIN_ONLY)
    except TypeError:
        return _exact_dumps(value)
    return _exact_dumps(value) if b"null" in data else data.decode()


def _exact_dumps(value: Any) -> str:
    text = _ENCODER.encode(value)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON may hold
        return json.dumps(value, separators=(",", ":"))
    return text


def deeper(raw: bytes, value: Any, levels: int) -> bool:
    """True when a string that was read as `value` is nested deeper than so many levels."""
    return len(raw) > levels and _may_be_deeper(raw, levels) and depth_exceeds(value, levels)


def depth_exceeds(value: Any, levels: int) -> bool:
    """The same of a value alone; for a large one this takes longer than reading it did."""
    layer = [value]
    for _ in range(levels):
        layer = [child for one in layer for child in children(one) if isinstance(child, dict | list)]
        if not layer:
            return False
    return True


def children(value: Any) -> Iterable[Any]:
    """The values in an object or an array; of anything else there are none."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def may_hold_large_integers(raw: bytes) -> bool:
    """False where no integer of a JSON string can have more than 64 bits."""
    return len(raw) >= len(_RUN) and _RUN in raw.translate(_DIGITS_AS_ZERO)


class Decoder(json.JSONDecoder):
    """The same as a class of decoders, which form fields take."""

    def decode(self, s: str, *args: Any) -> Any:
        """The value of a string. Raises NotJSON."""
        return loads(s)


def _fast(raw: bytes) -> Any:
    """By orjson, which is several times as fast. Raises its error also where it would round an integer."""
    if may_hold_large_integers(raw):
        raise orjson.JSONDecodeError("integers of many digits", "", 0)
    return orjson.loads(raw)


def _exact(raw: bytes, errors: str) -> Any:
    """By the standard library, for strings that orjson does not take.

    It reads halves of surrogate pairs and integers of any size, and describes errors in the words that
    clients of Python's servers are used to. Raises NotJSON.
    """
    try:
        return _EXACT.decode(raw.decode("utf-8", errors))
    except UnicodeDecodeError as error:
        raise NotJSON("Not UTF-8", "", error.start) from None
    except json.JSONDecodeError as error:
        raise NotJSON(error.msg, error.doc, error.pos) from None
    except _Refused as error:
        raise NotJSON(str(error), "", 0) from None
    except RecursionError:
        raise NotJSON("Nested too deeply", "", 0) from None


class _Refused(ValueError):
    pass


def _constant(name: str) -> Any:
    raise _Refused(f"{name} is not JSON")


def _float(digits: str) -> float:
    number = float(digits)
    if number in _INFINITE:
        raise _Refused("A number is too large")
    return number


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        _float(digits)
    return int(digits)


def _may_be_deeper(raw: bytes, levels: int) -> bool:
    """False when the brackets are too few for so many levels; True when that cannot be said cheaply.

    Pairs that close at once are removed, pass by pass; each pass takes the innermost levels away. Brackets in
    strings would pair with others: where a string holds any, its quotes remain, and nothing is said.
    """
    # Bytes methods run in C: this costs far less than a walk over the value, and nearly all input ends here.
    if raw.count(b"[") + raw.count(b"{") <= levels:
        return False
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = raw.translate(None, _NEITHER_BRACKET_NOR_QUOTE).replace(b'""', b"")
    if b'"' in brackets:
        return True
    for removed in range(2, 2 * _PASSES + 1, 2):  # a pass takes at most two levels away
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if removed + len(brackets) // 2 <= levels:
            return False
    return True


def _has_half_a_pair(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


_RUN: Final = b"0" * 19
_DIGITS_AS_ZERO: Final = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
_NEITHER_BRACKET_NOR_QUOTE: Final = bytes(byte for byte in range(256) if byte not in b'[]{}"')
_PASSES: Final = 8
"""A long value is looked at level by level when it is nested deeper."""
_MAX_DIGITS: Final = 308
"""Every integer with so few digits fits into a double."""
_INFINITE: Final = frozenset({float("inf"), float("-inf")})
_EXACT: Final = json.JSONDecoder(parse_constant=_constant, parse_float=_float, parse_int=_integer)
_PLAIN_ONLY: Final = (
    orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
)
# Made once: `json.dumps` with options makes one a call, half of its time for a small frame.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
