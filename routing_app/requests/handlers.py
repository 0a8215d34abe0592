"""Decorators that an app's `requests.py` imports to register handlers by `type`.

    from switchboard import Context, on_message, on_request

    @on_request("greet")
    async def greet(context: Context) -> None:
        await context.partial({"text": "one moment"})
        await context.reply({"text": f"Hello {context.message['name']}"})

Modules named `requests` of all installed apps are imported at the start.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

from routing_app.core import metrics
from routing_app.core.durations import Times
from routing_app.requests import wire
from routing_app.requests.connection import Connection
from routing_app.requests.context import Context
from routing_app.requests.errors import RequestDenied
from routing_app.requests.wire import Direction

__all__ = [
    "Connection",
    "Context",
    "RequestDenied",
    "on_close",
    "on_connection",
    "on_error",
    "on_message",
    "on_request",
]

Function = Callable[[Context], Coroutine[Any, Any, None]]
Opened = Callable[[Connection], Coroutine[Any, Any, None]]
Closed = Callable[[Connection, int, str], Coroutine[Any, Any, None]]
Failed = Callable[[Connection, Exception], None]


@dataclass(frozen=True, slots=True)
class Handler:
    """A registered handler; one that is `in_order` ends before the connection's next frame is read."""

    function: Function
    type: str
    """What it is for, in metrics and spans: the type that it was registered for, or `any`."""
    times: Times
    in_order: bool = False


HANDLERS: Final[dict[tuple[Direction, str], Handler]] = {}
"""All handlers, by direction and type; "" takes frames whose type has no handler of its own."""
OPENED: Final[list[Opened]] = []
CLOSED: Final[list[Closed]] = []
FAILED: Final[list[Failed]] = []


def on_request(type: str | int = "", *, in_order: bool = False) -> Callable[[Function], Function]:
    """Register the handler of requests of a type, or of all that have none.

    It answers before it returns. Handlers start in order of arrival and those that wait overlap, except
    `in_order` ones: they must not wait for this client, since nothing is read from it while they run.
    """
    return _registering(Direction.REQUEST, type, in_order)


def on_message(type: str | int = "", *, in_order: bool = False) -> Callable[[Function], Function]:
    """Register the handler of messages of a type, or of all that have none."""
    return _registering(Direction.MESSAGE, type, in_order)


def on_connection(function: Opened) -> Opened:
    """Have `function(connection)` run when a client has connected; it may ask the client."""
    OPENED.append(function)
    return function


def on_close(function: Closed) -> Closed:
    """Have `function(connection, code, reason)` run when a connection has ended."""
    CLOSED.append(function)
    return function


def on_error(function: Failed) -> Failed:
    """Have `function(connection, error)` called for a malformed frame and for a handler that failed."""
    FAILED.append(function)
    return function


def find(direction: Direction, type: str) -> Handler | None:
    """The handler of a type, else the one of those without."""
    return HANDLERS.get((direction, type)) or HANDLERS.get((direction, ""))


def _registering(direction: Direction, type: str | int, in_order: bool) -> Callable[[Function], Function]:
    def register(function: Function) -> Function:
        place = (direction, wire.name(type))
        if not inspect.iscoroutinefunction(function):
            raise ImproperlyConfigured(f"the handler of {_title(*place)} is not an `async def`")
        if place in HANDLERS:
            raise ImproperlyConfigured(f"{_title(*place)} has two handlers")
        shown = place[1] or "any"
        HANDLERS[place] = Handler(function, shown, metrics.REQUEST.labels(shown), in_order)
        return function

    return register


def _title(direction: Direction, type: str) -> str:
    return f"{direction.lower()} {type or '(any type)'}"


def tell_error(connection: Connection, error: Exception) -> None:
    """Call the functions that are registered for errors."""
    for function in FAILED:
        function(connection, error)
