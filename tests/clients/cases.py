"""One table of cases for both clients: what is done, and what comes of it.

An operation is `request`, `send`, `close` or `receive`; the drivers of both clients know them. The outcome is
compared without the control fields `key` and `direction`. Clients have handlers of requests: `double` answers
`{"n": 1}` as a partial and twice `x` as the reply, `refuse` answers with an error, `break` fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """One row."""

    name: str
    operation: str
    given: dict[str, Any]
    expected: Any


def request(name: str, message: dict[str, Any], expected: Any, **given: Any) -> Case:
    return Case(name, "request", {"message": message, **given}, expected)


def ask_me(name: str, ask: dict[str, Any], expected: Any) -> Case:
    """The server asks back while it answers."""
    return request(name, {"type": "ask me", "ask": ask}, {"partials": [], "reply": expected})


LONG = "ä" * 20_000

CASES = [
    request("a reply", {"type": "echo", "a": {"b": [1, None]}}, {"partials": [], "reply": {"type": "echo", "a": {"b": [1, None]}}}),
    request("text of any kind", {"type": "echo", "t": 'é\u2028\0"😀'}, {"partials": [], "reply": {"type": "echo", "t": 'é\u2028\0"😀'}}),
    request("a long text", {"type": "echo", "t": LONG}, {"partials": [], "reply": {"type": "echo", "t": LONG}}),
    request("an own key", {"type": "echo", "key": "mine"}, {"partials": [], "reply": {"type": "echo"}}),
    request("a key that is a number", {"type": "echo", "key": 17}, {"partials": [], "reply": {"type": "echo"}}),
    request("a binary frame", {"type": "echo", "x": 1}, {"partials": [], "reply": {"type": "echo", "x": 1}}, binary=True),
    request("partials", {"type": "question"}, {"partials": [{"n": 1}, {"n": 2}], "reply": {"answer": "ok"}}),
    request("an error", {"type": "fail"}, {"error": {"message": "nope", "code": 7}}),
    request("no handler", {"type": "nobody"}, {"error": {"code": "unhandled", "message": "nobody takes this"}}),
    request("a handler that fails", {"type": "boom"}, {"error": {"code": "internal", "message": "Internal error"}}),
    request("a timeout", {"type": "late", "seconds": 30}, {"timeout": True}, timeout=0.2),
    request("a closed connection", {"type": "close me", "code": 4055, "reason": "später"}, {"closed": [4055, "später"]}, also={"type": "late", "seconds": 30}),
    request("a key that is an object", {"type": "echo", "key": {"a": 1}}, {"refused": True}),
    ask_me("a request of the server", {"type": "double", "x": 21}, {"pieces": [1], "got": {"twice": 42}}),
    ask_me("an error of the client", {"type": "refuse"}, {"error": {"code": "mine"}}),
    ask_me("a client's handler that fails", {"type": "break"}, {"error": {"code": "internal", "message": "Internal error"}}),
    ask_me("a client without handler", {"type": "nobody"}, {"error": {"code": "unhandled", "message": "no handler takes this type of request"}}),
    request("a message of the server, with receipt", {"type": "send me", "send": {"type": "hi"}}, {"partials": [], "reply": {"received": True}}),
    Case("a message, with receipt", "send", {"message": {"type": "note", "text": "x"}}, "sent"),
    Case("a message with the protocol's field", "send", {"message": {"direction": "REPLY"}}, "refused"),
    Case("a close with code and reason", "close", {"code": 4999, "reason": "done"}, "closed"),
    Case("a close with a reserved code", "close", {"code": 1006, "reason": ""}, "refused"),
    Case("a close with a long reason", "close", {"code": 4000, "reason": "é" * 62}, "refused"),
    Case("a delivery", "receive", {"message": {"n": [1, "ö"]}}, {"message": {"n": [1, "ö"]}}),
    Case("a delivery of a string", "receive", {"message": "text"}, {"message": "text"}),
]  # fmt: skip
