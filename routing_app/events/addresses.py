"""`user:<root id>`: the sockets of one user."""

from __future__ import annotations

import re
from typing import Final

from routing_app.core.address import AddressError

ROOT: Final = re.compile(r"(?ai)(?:n:[^:]*:)?([0-9a-f]{24})")


def root_id(name: str) -> str:
    """The one form of a root id: `n::` and 24 lower-case hex digits; the node's name says nothing.

    Raises AddressError.
    """
    match = ROOT.fullmatch(name)
    if match is None:
        raise AddressError("a user is written user:n::<24 hex digits>")
    return f"n::{match[1].lower()}"
