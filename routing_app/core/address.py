"""What a message can be sent to: `<kind>:<name>`, the same text in every API, client and admin page.

Kinds and what they reach: docs/addresses.md.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NewType

Address = NewType("Address", str)
"""A checked address, `kind:name`."""

MAX_LENGTH: Final = 512
WORKER_ID_LENGTH: Final = 16
PUBLISHABLE: Final = frozenset({"token", "room", "user", "channel", "client", "connection"})
OPERATORS_ONLY: Final = frozenset({"customer", "session"})
ROOT: Final = re.compile(r"(?ai)(?:n:[^:]*:)?([0-9a-f]{24})")
ROOM_NAMESPACES: Final = frozenset({"layout", "bus", "lobby", "trigger"})


class AddressError(ValueError):
    """A text is not an address, or not one that may be published to."""


def parse(text: str) -> Address:
    """Check an address that a publisher named.

    Raises AddressError, with a sentence for the caller, when it is malformed, of an unknown kind,
    or of a kind that carries no free messages.
    """
    kind, colon, name = text.partition(":")
    if not colon or not name:
        raise AddressError("an address is written kind:name")
    if len(text) > MAX_LENGTH:
        raise AddressError(f"an address has at most {MAX_LENGTH} characters")
    if not text.isprintable():
        raise AddressError("an address holds no control characters")
    if kind in OPERATORS_ONLY:
        raise AddressError(f"{kind} addresses carry no messages")
    if kind not in PUBLISHABLE:
        raise AddressError(f"unknown kind of address; expected one of {', '.join(sorted(PUBLISHABLE))}")
    if kind == "room" and not _names_a_room(name):
        raise AddressError("a room is written room:<layout|bus|lobby|trigger>/<id>")
    return make("user", _root(name)) if kind == "user" else Address(text)


def _root(name: str) -> str:
    """The one form of a root id: `n::` and 24 lower-case hex digits; the node's name says nothing."""
    match = ROOT.fullmatch(name)
    if match is None:
        raise AddressError("a user is written user:n::<24 hex digits>")
    return f"n::{match[1].lower()}"


def _names_a_room(name: str) -> bool:
    namespace, _, room = name.partition("/")
    return namespace in ROOM_NAMESPACES and room != ""


def make(kind: str, name: str) -> Address:
    """An address from parts that the caller has checked."""
    return Address(f"{kind}:{name}")


@lru_cache(maxsize=4096)
def group_name(address: str) -> str:
    """The channel-layer group of an address. Hashed: groups allow only [A-Za-z0-9._-], under 100 characters.

    A connection id begins with the id of its worker, so all `connection:` addresses of a process share the
    group of `worker:<id>`, and no connection costs a subscription of its own.
    """
    if address.startswith("connection:"):
        address = f"worker:{address[11 : 11 + WORKER_ID_LENGTH]}"
    return "sb." + blake2b(address.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
