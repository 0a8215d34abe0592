"""The frames of the tokens protocol, in and out, and the addresses that a token stands for.

The rules are numbered as in this folder's README.md ("Decisions"). Only `TokenWireError` is raised here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from routing_app.core.address import Address, make

NO_TOKEN: Final = "unregistered"  # noqa: S105 - a name, no secret
"""The token of a client that has none (decision 6)."""
ORIGINAL_NO_TOKEN: Final = "unregstered"  # noqa: S105
"""How the original spells it on the wire."""
RESERVED: Final = frozenset({NO_TOKEN, ORIGINAL_NO_TOKEN})
MAX_TOKEN: Final = 255
"""Characters of a token (decision 29)."""

REGISTER: Final = "RegisterToken:"
ECHO: Final = "Echo:"
QUERY_FIELD: Final = "RegisterToken"


class TokenWireError(ValueError):
    """A frame breaks a rule; the message is a sentence about the rule and never holds the frame."""


class LimitExceeded(TokenWireError):
    """A frame is longer, or names more receivers, than is allowed (decision 29)."""


@dataclass(frozen=True, slots=True)
class RegisterToken:
    """`RegisterToken:<token>`: be known by this token from now on."""

    token: str


@dataclass(slots=True)  # never changed; `frozen` would take longer than reading it does
class Echo:
    """`Echo:<text>`: send the text back."""

    text: str


@dataclass(slots=True)
class BroadcastFrame:
    """`<receivers>|<payload>`: receivers are distinct, in the order given; the payload is untouched."""

    receivers: tuple[str, ...]
    payload: str


@dataclass(frozen=True, slots=True)
class IgnoredFrame:
    """A frame that gets no answer and has no effect; `reason` is for the debug log."""

    reason: str


Inbound = RegisterToken | Echo | BroadcastFrame | IgnoredFrame


def parse(text: str, max_receivers: int) -> Inbound:
    """Read one frame. Services come first, so `Echo:a|b` is an echo (decision 8).

    Raises LimitExceeded.
    """
    if text.startswith(REGISTER):
        try:
            return RegisterToken(check_token(text[len(REGISTER) :]))
        except LimitExceeded:
            raise
        except TokenWireError as error:  # decision 11
            return IgnoredFrame(str(error))
    if text.startswith(ECHO):
        return Echo(text[len(ECHO) :])
    receivers, bar, payload = text.partition("|")
    if not bar:
        return IgnoredFrame("neither a service nor receivers")
    return BroadcastFrame(parse_receivers(receivers, max_receivers), payload)


def parse_message(text: str, max_receivers: int) -> BroadcastFrame:
    """Read `<receivers>|<payload>` and nothing else, as in the form API. Raises TokenWireError."""
    receivers, bar, payload = text.partition("|")
    if not bar:
        raise TokenWireError("a message is written receivers|text")
    return BroadcastFrame(parse_receivers(receivers, max_receivers), payload)


def parse_receivers(text: str, max_receivers: int) -> tuple[str, ...]:
    """Distinct receivers of a comma list (decisions 2 and 6). Raises LimitExceeded."""
    entries = (entry.strip() for entry in text.split(","))
    receivers = tuple(dict.fromkeys(_one_spelling(entry) for entry in entries if entry))
    if len(receivers) > max_receivers:
        raise LimitExceeded(f"a message names at most {max_receivers} receivers")
    return receivers


def check_token(text: str) -> str:
    """The token that a string means, stripped (decision 11). Raises TokenWireError."""
    token = text.strip()
    if not token:
        raise TokenWireError("a token is not empty")
    if len(token) > MAX_TOKEN:
        raise LimitExceeded(f"a token has at most {MAX_TOKEN} characters")
    if "," in token or "|" in token:
        raise TokenWireError("a token holds no comma and no |")
    if not token.isprintable():
        raise TokenWireError("a token holds no control or invisible characters")
    return _one_spelling(token)


def check_registrable(text: str) -> str:
    """The same for a token that is to be registered: the names of "no token" are reserved (decision 6)."""
    token = check_token(text)
    if token in RESERVED:
        raise TokenWireError(f"{NO_TOKEN} stands for clients without a token")
    return token


def query_token(query: bytes) -> str:
    """The token of a handshake's query string: the last that is not empty, else NO_TOKEN (decision 15).

    Raises TokenWireError.
    """
    try:
        fields = parse_qsl(query.decode(), errors="strict")
    except ValueError:
        raise TokenWireError("the query string is not UTF-8") from None
    tokens = [value for name, value in fields if name == QUERY_FIELD and value.strip()]
    return check_token(tokens[-1]) if tokens else NO_TOKEN


def query_last(query: bytes) -> str:
    """How many messages of before a handshake asks for, as it is written; "" where it does not ask."""
    if b"last=" not in query:
        return ""
    return dict(parse_qsl(query.decode(errors="replace"))).get("last", "")


def address_of(receiver: str) -> Address:
    """The address of a receiver; one that ends in `/` is a prefix (decision 3)."""
    return make("token", receiver)


def own_address(token: str) -> Address:
    """The address of the clients of exactly this token.

    A token that ends in `/` shares `token:<it>` with all below it, so it has a second one that nobody can
    publish to.
    """
    return make("token-itself", token) if token.endswith("/") else make("token", token)


def addresses_of(token: str) -> tuple[Address, ...]:
    """The addresses of a token's client: its own, and each prefix up to a `/` (decision 5)."""
    prefixes = [token[: index + 1] for index, character in enumerate(token) if character == "/"]
    return (own_address(token), *(make("token", prefix) for prefix in prefixes))


def payload_of(message: Any) -> str:
    """A published JSON value as this protocol's payload: a string as it is, anything else as JSON."""
    if isinstance(message, str):
        return message
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def encode(payload: str, compat: bool) -> str:
    """An outbound frame (decision 1): the payload, or the original's JSON string and newline."""
    return go_json(payload) + "\n" if compat else payload


def go_json(value: Any) -> str:
    """JSON as Go's encoder writes it: keys sorted, no spaces, `<`, `>`, `&`, U+2028 and U+2029 escaped."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.translate(_GO_ESCAPES)


_SURROGATES: Final = range(0xD800, 0xE000)
_GO_ESCAPES: Final = {
    **dict.fromkeys(_SURROGATES, "\\ufffd"),
    **{ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"},
}


def _one_spelling(token: str) -> str:
    return NO_TOKEN if token == ORIGINAL_NO_TOKEN else token
