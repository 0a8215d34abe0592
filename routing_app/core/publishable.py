"""Checks of what somebody wants to publish: its addresses, its id, and a message that has to wait."""

from __future__ import annotations

import re
from collections.abc import Iterable
from json import dumps
from typing import Any, Final

from django.conf import settings

from routing_app.core import json
from routing_app.core.address import AddressError, parse

MAX_ID: Final = 64
"""Characters of an id that a publisher gives."""
NUL: Final = re.compile(r"(?<!\\)(\\\\)*\\u0000")
"""In a JSON string, behind an even number of backslashes."""


class NotStorable(ValueError):
    """A message that cannot wait in a database."""


def check_id(id: Any) -> str:
    """The id of a message. Raises ValueError, with a sentence for the caller."""
    if not isinstance(id, str) or not 1 <= len(id) <= MAX_ID or not id.isprintable():
        raise ValueError(f"an id has 1 to {MAX_ID} printable characters")
    return id


def check_addresses(addresses: Iterable[str]) -> tuple[str, ...]:
    """Distinct, publishable addresses in the order given. Raises AddressError, also for too many of them."""
    distinct = tuple(dict.fromkeys(map(parse, addresses)))
    if len(distinct) > settings.MAX_RECEIVERS:
        raise AddressError(f"at most {settings.MAX_RECEIVERS} addresses")
    return distinct


def check_message(message: Any) -> None:
    """Raise TypeError or ValueError for a message that is not JSON by this server's rule, or NotStorable.

    For those that wait in a database, where it would be found out too late: by the worker, or by SQLite,
    which leaves a row with NaN out without a word.
    """
    try:
        json.loads(json.dumps(message))
    except RecursionError:
        raise ValueError("a message is nested too deeply") from None
    check_storable(message)


def check_storable(message: Any) -> None:
    """Raise NotStorable for a message with a NUL or half of a surrogate pair: PostgreSQL has neither."""
    written = dumps(message, ensure_ascii=False)
    try:
        written.encode()
    except UnicodeEncodeError:
        raise NotStorable("expected whole characters, but got half of a surrogate pair") from None
    if "\\u0000" in written and NUL.search(written):
        raise NotStorable("expected no NUL")
