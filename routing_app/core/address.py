"""Addresses of messages: `<kind>:<name>`, the same string in every API, client and admin page.

Each protocol registers its kinds; `connection` belongs to all. Receivers of each kind: docs/addresses.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NewType

Address = NewType("Address", str)
"""A checked address, `kind:name`."""

MAX_LENGTH: Final = 512
WORKER_ID_LENGTH: Final = 16
HEX: Final = frozenset("0123456789abcdef")


class AddressError(ValueError):
    """A string is not an address, or not one that may be published to."""


def any_name(name: str) -> str:
    """A name that may be anything."""
    return name


@dataclass(frozen=True, slots=True)
class AddressKind:
    """The rules of one kind of address."""

    check: Callable[[str], str] = any_name
    """The one form of a name; raises AddressError, with a sentence for the caller."""
    publish: bool = True
    """True when an operator may publish to it."""
    subscribe: bool = True
    """True when a client of the requests protocol may subscribe to it."""
    secret: bool = False
    """True when the name lets somebody in, and is masked where it is listed."""
    history: bool = True
    """True when messages to it may be kept, where `publish` and a rule of addresses say so, too."""


_kinds: Final[dict[str, AddressKind]] = {"connection": AddressKind(history=False)}


def register(kind: str, rules: AddressKind) -> None:
    """Make a kind known."""
    _kinds[kind] = rules


def unregister(kind: str) -> None:
    """Forget a kind."""
    _kinds.pop(kind, None)


def kinds() -> tuple[str, ...]:
    """All kinds of addresses."""
    return tuple(_kinds)


def is_secret(kind: str) -> bool:
    """True when names of this kind let somebody in; an unknown kind counts as secret."""
    rules = _kinds.get(kind)
    return rules is None or rules.secret


def has_history(kind: str) -> bool:
    """True when messages to addresses of this kind may be kept."""
    rules = _kinds.get(kind)
    return rules is not None and rules.publish and rules.history


def parse(text: str, subscribe: bool = False) -> Address:
    """Check an address that somebody wants to publish to, or to subscribe to.

    Raises AddressError, with a sentence for the caller, when it is malformed, of an unknown kind,
    or of a kind with which that is not done.
    """
    if not isinstance(text, str):
        raise AddressError("an address is a string")
    kind, colon, name = text.partition(":")
    if not colon or not name:
        raise AddressError("an address is written kind:name")
    if len(text) > MAX_LENGTH:
        raise AddressError(f"an address has at most {MAX_LENGTH} characters")
    if not text.isprintable():
        raise AddressError("an address holds no control characters")
    rules = _kinds.get(kind)
    if rules is None:
        known = ", ".join(sorted(kind for kind, rules in _kinds.items() if rules.publish))
        raise AddressError(f"unknown kind of address; expected one of {known}")
    if not (rules.subscribe if subscribe else rules.publish):
        raise AddressError(f"{kind} addresses carry no messages")
    return make(kind, rules.check(name))


def make(kind: str, name: str) -> Address:
    """An address from parts that the caller has checked."""
    return Address(f"{kind}:{name}")


def checked(kind: str, name: str) -> Address:
    """An address from parts that nobody has checked: `switchboard.make_address`.

    Raises AddressError for an unknown kind, and for a name that its kind does not allow.
    """
    rules = _kinds.get(kind)
    if rules is None:
        raise AddressError(f"unknown kind of address; expected one of {', '.join(sorted(_kinds))}")
    return make(kind, rules.check(name))


def worker_of(id: str) -> str:
    """The id of the worker that owns a connection or session; "" for a string that is not such an id."""
    worker_id = id[:WORKER_ID_LENGTH]
    return worker_id if len(id) > WORKER_ID_LENGTH and HEX.issuperset(worker_id) else ""


@lru_cache(maxsize=4096)
def group_name(address: str) -> str:
    """The channel-layer group of an address. Hashed: groups allow only [A-Za-z0-9._-], under 100 characters.

    A connection id begins with the id of its worker, so all `connection:` addresses of a process share the
    group of `worker:<id>`, and no connection costs a subscription of its own.
    """
    if address.startswith("connection:"):
        address = f"worker:{address[11 : 11 + WORKER_ID_LENGTH]}"
    return "sb." + blake2b(address.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
