"""Claims that any kind of token may have (RFC 7519, section 4.1).

PyJWT takes a string for a time and refuses an `iat` in the future, and RFC 7519 does neither. So the claims
are checked here. A finding is a claim and what is wrong with it, "" for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from time import time
from typing import Any, Final

from django.conf import settings

from routing_app.core.strings import is_clean

MAX_STRING: Final = 255
"""Characters of a name in a token."""

Finding = tuple[str, str]


def check_times(claims: dict[str, Any]) -> Iterator[Finding]:
    """`exp` is there and not over, and `nbf` has come, within TOKEN_LEEWAY_SECONDS; `iat` may be any time."""
    now, leeway = time(), settings.TOKEN_LEEWAY_SECONDS
    exp = _time_problem(claims, "exp")
    yield "exp", exp or ("expired" if claims["exp"] <= now - leeway else "")
    nbf = _time_problem(claims, "nbf")
    yield "nbf", nbf or ("not valid yet" if claims.get("nbf", 0) > now + leeway else "")
    yield "iat", _time_problem(claims, "iat")


def _time_problem(claims: dict[str, Any], name: str) -> str:
    """A NumericDate is a number of seconds (RFC 7519, section 2)."""
    if name not in claims:
        return "missing" if name == "exp" else ""
    value = claims[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    return "" if is_number else "expected a number"


def check_audience(claims: dict[str, Any], listed: Sequence[str]) -> Iterator[Finding]:
    """`aud` names one that the signer lists, or is missing where it lists none."""
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    is_accepted = any(one in listed for one in named) if "aud" in claims or listed else True
    yield "aud", "" if is_accepted else "none that is listed for its signer"


def string_problem(value: Any) -> str:
    """The problem of a claim that has to be a string which can be stored and shown."""
    if isinstance(value, str) and 0 < len(value) <= MAX_STRING and is_clean(value):
        return ""
    return f"expected a string of 1 to {MAX_STRING} characters, none of them a control character"
