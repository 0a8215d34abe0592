"""`X-Request-ID`: the name of one request in answers, logs and records; the client's own, or a new one."""

from __future__ import annotations

import re
import secrets
from itertools import count
from typing import Final

HEADER: Final = b"x-request-id"
ACCEPTABLE: Final = re.compile(rb"[!-~]{1,128}")
"""Visible characters: an id is written into logs and headers as it is, where a space ends it for readers."""

_process: Final = secrets.token_hex(6)
_numbers: Final = count(1)


def new() -> str:
    """An id that no other request has, in this process or another. It is no secret, and can be guessed."""
    return f"{_process}-{next(_numbers):x}"


def taken(value: bytes) -> str:
    """The id that a client sent; "" for one that is not acceptable."""
    return value.decode("ascii") if ACCEPTABLE.fullmatch(value) else ""
