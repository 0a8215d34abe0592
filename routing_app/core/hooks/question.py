"""The question that a hook is asked, and the verdict that its answer gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_plus

from routing_app.core import json
from routing_app.core.address import AddressError
from routing_app.core.models.hooks import On
from routing_app.core.publishable import check_addresses

if TYPE_CHECKING:
    from routing_app.core.delivery.connection import Connection

SECRET_FIELDS: Final = frozenset({"access_token", "auth", "key", "token"})
"""Fields of a query string in which this server takes credentials: their values are masked."""
MASK: Final = "***"
MAX_NAME: Final = 255
MAX_REASON: Final = 500
Handshake = Mapping[str, Any]
"""The ASGI scope with which a client came."""


class Unchanged:
    """The message of a verdict that replaces none; null is a message like any other."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged()


class WrongAnswer(ValueError):
    """An answer that is not one; the message is a sentence that holds nothing of it."""


@dataclass(slots=True)
class Question:
    """The step that a client wants to take."""

    protocol: str
    connection: str
    """Its id; empty for a call over HTTP, which is told as null."""
    peer: str
    identity: str
    handshake: Handshake | None
    address: str | None = None
    """The address, which patterns of hooks match; for a request its type, or the name of the walker; None for
    `connect`."""
    message: Any = None
    wants_objects: bool = False
    """True where a reply and its partials have to be objects of JSON, and an error an object or a string."""
    kinds: frozenset[str] | None = None
    """The kinds of addresses that a client may be subscribed to as it connects; None: all."""

    def body(self, on: str, headers: frozenset[str]) -> bytes:
        """What is sent: JSON. Raises TypeError or ValueError for a message that JSON cannot hold."""
        handshake = self.handshake
        asked = {
            "on": on,
            "protocol": self.protocol,
            "connection": self.connection or None,
            "peer": self.peer,
            "identity": self.identity,
            "headers": passed_on(handshake, headers) if headers else {},
            "query": masked_query(handshake["query_string"]) if handshake else "",
            "address": self.address,
            "message": self.message,
        }
        return json.dumps(asked).encode("utf-8", "surrogatepass")


def asked_by(
    connection: Connection, address: str | None, message: Any = None, *, wants_objects: bool = False
) -> Question:
    """The question for a step of an open connection; a hook may have given it an identity."""
    return Question(
        connection.protocol,
        connection.id,
        str(connection.peer),
        connection.given.identity or connection.identity,
        connection.handshake,
        address,
        message,
        wants_objects,
    )


def passed_on(handshake: Handshake | None, names: frozenset[str]) -> dict[str, str]:
    """The headers of a handshake that have one of these names, in lower case; equal ones are joined."""
    found: dict[str, str] = {}
    for raw, value in handshake["headers"] if handshake else ():
        if (name := raw.decode("latin-1").lower()) in names:
            text = value.decode("latin-1")
            found[name] = (
                f"{found[name]}{'; ' if name == 'cookie' else ', '}{text}" if name in found else text
            )
    return found


def masked_query(query: bytes) -> str:
    """A query string as the client sent it, without the credentials of this server."""
    if not query:
        return ""
    return "&".join(map(_masked, query.decode("latin-1").split("&")))


def _masked(part: str) -> str:
    name, equals, _ = part.partition("=")
    return f"{name}={MASK}" if equals and unquote_plus(name) in SECRET_FIELDS else part


@dataclass(slots=True)
class Verdict:
    """The answers of all hooks of a step, taken together."""

    allow: bool = True
    reason: str = ""
    """For the client, if it is refused; empty: the protocol's own words."""
    unavailable: bool = False
    """True where a hook had no answer: it may be worth another try."""
    identity: str = ""
    name: str = ""
    subscribe: tuple[str, ...] = ()
    message: Any = UNCHANGED
    """The message in place of the client's, where a hook has given one."""
    answered: bool = False
    """True for a request that is answered, by `reply` or by `error`, after `partials`."""
    is_error: bool = False
    reply: Any = None
    error: Any = None
    partials: list[Any] = field(default_factory=list)

    def or_else(self, message: Any) -> Any:
        """The message to go on with, in place of `message`."""
        return message if self.message is UNCHANGED else self.message

    def take(self, on: str, answer: Any, question: Question) -> None:
        """Go on by the answer of one hook, read from JSON. Raises WrongAnswer, and changes nothing."""
        if not isinstance(answer, dict):
            raise WrongAnswer("expected an object")
        is_answer = on == On.REQUEST and ("reply" in answer or "error" in answer)
        allow = answer.get("allow", True if is_answer else None)
        if not isinstance(allow, bool):
            raise WrongAnswer("expected `allow`, true or false")
        if not allow:
            self.reason = _text(answer, "reason", MAX_REASON, cut=True)
            self.allow, self.unavailable = False, False
        elif on == On.CONNECT:
            self._take_connect(answer, question.kinds)
        elif on == On.PUBLISH and "message" in answer:
            self.message = answer["message"]
        elif is_answer:
            self._take_reply(answer, question.wants_objects)
        elif on == On.REQUEST and "partials" in answer:
            raise WrongAnswer("expected `reply` or `error` beside `partials`")

    def _take_connect(self, answer: dict[str, Any], kinds: frozenset[str] | None) -> None:
        identity, name = _text(answer, "identity", MAX_NAME), _text(answer, "name", MAX_NAME)
        given = answer.get("subscribe")
        if given is not None and not (isinstance(given, list) and all(isinstance(one, str) for one in given)):
            raise WrongAnswer("expected `subscribe`, a list of addresses")
        try:
            addresses = check_addresses(given) if given else ()
        except AddressError as error:
            raise WrongAnswer(f"`subscribe`: {error}") from None
        if kinds is not None and not kinds.issuperset(one.partition(":")[0] for one in addresses):
            raise WrongAnswer(
                "`subscribe` holds an address that clients of this protocol cannot receive from"
            )
        self.identity, self.name = identity or self.identity, name or self.name
        self.subscribe = tuple(dict.fromkeys((*self.subscribe, *addresses)))

    def _take_reply(self, answer: dict[str, Any], wants_objects: bool) -> None:
        partials = [] if answer.get("partials") is None else answer["partials"]
        if not isinstance(partials, list):
            raise WrongAnswer("expected `partials`, a list")
        reply, error = answer.get("reply"), answer.get("error")
        # Encoders of typed languages write a field that is not set as null.
        is_error = "error" in answer and (error is not None or "reply" not in answer)
        if is_error and reply is not None:
            raise WrongAnswer("expected either `reply` or `error`")
        if wants_objects:
            if isinstance(error, str):
                error = {"code": "failed", "message": error}
            if not _are_objects([*partials, error if is_error else reply]):
                raise WrongAnswer("expected objects in `reply`, `error` and `partials`")
        self.partials, self.answered, self.is_error = partials, True, is_error
        self.reply, self.error = reply, error


def _text(answer: dict[str, Any], field: str, longest: int, *, cut: bool = False) -> str:
    text = answer.get(field)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise WrongAnswer(f"expected `{field}`, a string")
    if cut:
        return "".join(filter(str.isprintable, text))[:longest]
    if len(text) > longest or not text.isprintable():
        raise WrongAnswer(f"expected `{field}` of at most {longest} printable characters")
    return text


def _are_objects(values: Iterable[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)
