"""Headers that operators add to calls."""

from __future__ import annotations

import re
from typing import Any, Final

from django.core.exceptions import ValidationError

MAX_HEADERS: Final = 20
MAX_VALUE: Final = 2000
OURS: Final = frozenset(
    {
        *("accept-encoding", "connection", "content-encoding", "content-length", "content-type", "cookie"),
        *("expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)
"""What the server says itself, in lower case; also all that begins as in OUR_PREFIXES."""
OUR_PREFIXES: Final = ("webhook-", "proxy-")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE: Final = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")


def check_headers(headers: Any) -> None:
    """Raise ValidationError for anything but an object of names and values as HTTP has them (RFC 9110)."""
    if not isinstance(headers, dict):
        raise ValidationError("expected an object of header names and values")
    if len(headers) > MAX_HEADERS:
        raise ValidationError(f"at most {MAX_HEADERS} headers")
    if len({str(name).lower() for name in headers}) != len(headers):
        raise ValidationError("a header is named twice")
    for name, value in headers.items():
        _check(name, value)


def is_header(name: str, value: str) -> bool:
    """True for a header as HTTP has it: nothing in it is the end of its line."""
    return bool(_NAME.fullmatch(name) and _VALUE.fullmatch(value))


def _check(name: Any, value: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValidationError("the name of a header has letters, digits and hyphens")
    if name.lower() in OURS or name.lower().startswith(OUR_PREFIXES):
        raise ValidationError(f"the server sends {name} itself")
    if not isinstance(value, str) or len(value) > MAX_VALUE or not _VALUE.fullmatch(value):
        raise ValidationError(
            f"the value of {name} is a string of at most {MAX_VALUE} printable ASCII characters,"
            " without a blank at its ends"
        )
