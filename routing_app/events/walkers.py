"""Imports for an app's `walkers.py`: the decorator, the call and its answer, the notifier.

    from switchboard import notify_channels, report, walker

    @walker(methods=["websocket", "post"])
    def say(channel_id: str, text: str, loud: bool = False) -> None:
        \"""Say something on a channel.\"""
        notify_channels([channel_id], {"type": "chat", "data": text.upper() if loud else text})
        report("said")

The function's parameters are the walker's fields: what `context` must hold on a socket, and the body, query
or path over HTTP. Modules named `walkers` of all installed apps are imported at the start.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar, get_type_hints, overload

from django.core.exceptions import ImproperlyConfigured
from pydantic import BaseModel, Field, create_model

from routing_app.events.nodes import node
from routing_app.events.notifier import notify_channels, notify_clients, notify_self, notify_users
from routing_app.events.walker_context import current, report
from routing_app.events.wire import ROOT_PATTERN

__all__ = [
    "RootId",
    "current",
    "node",
    "notify_channels",
    "notify_clients",
    "notify_self",
    "notify_users",
    "report",
    "walker",
]

RootId = Annotated[str, Field(pattern=ROOT_PATTERN)]
"""Type of a field that is to be a user's `root_id`."""

F = TypeVar("F", bound=Callable[..., Any])

WEBSOCKET: Final = "websocket"
HTTP_METHODS: Final = ("get", "post", "put", "patch", "delete")
METHODS_WITH_BODY: Final = frozenset({"post", "put", "patch"})
_VARIABLE: Final = re.compile(r"{([^{}]*)}")


@dataclass(frozen=True)
class Walker:
    """A registered walker."""

    name: str
    function: Callable[..., Any]
    fields: type[BaseModel]
    """Its parameters as a pydantic model."""
    methods: tuple[str, ...]
    auth: bool
    path: str
    """The rest of the URL behind the name: "" or `/…`, with fields in braces."""
    as_query: frozenset[str]

    @property
    def is_async(self) -> bool:
        """True when it runs on the event loop."""
        return inspect.iscoroutinefunction(self.function)

    @property
    def over_websocket(self) -> bool:
        """May it be called over a socket?"""
        return WEBSOCKET in self.methods

    @property
    def http_methods(self) -> list[str]:
        """The HTTP methods it answers, in lower case."""
        return [method for method in self.methods if method != WEBSOCKET]

    def place_of(self, field: str, method: str) -> Literal["path", "query", "body"]:
        """The place of a field in a request of an HTTP method."""
        if field in _VARIABLE.findall(self.path):
            return "path"
        return "body" if field not in self.as_query and method in METHODS_WITH_BODY else "query"

    def values(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """The checked arguments of a call. Raises pydantic's ValidationError; unknown keys are ignored."""
        model = self.fields.model_validate(context)
        return {name: getattr(model, name) for name in self.fields.model_fields}


WALKERS: Final[dict[str, Walker]] = {}
"""All walkers by name."""


def described(walker: Walker) -> dict[str, Any]:
    """A walker as JSON, for a form.

    `name`, `about`, `fields` (name -> JSON schema), `required`, `auth`, `socket` (may it be called over
    one?), and for HTTP `method`, `path` and `places` (field -> path, query or body).
    """
    schema = walker.fields.model_json_schema()
    method = walker.http_methods[0] if walker.http_methods else ""
    return {
        "name": walker.name,
        "about": (inspect.getdoc(walker.function) or "").partition("\n\n")[0],
        "fields": schema.get("properties", {}),
        "required": schema.get("required", []),
        "auth": walker.auth,
        "socket": walker.over_websocket,
        "method": method,
        "path": walker.path,
        "places": {name: walker.place_of(name, method) for name in walker.fields.model_fields},
    }


@overload
def walker(function: F, /) -> F: ...


@overload
def walker(
    *, methods: Iterable[str] = ..., auth: bool = ..., path: str = ..., as_query: str | Iterable[str] = ...
) -> Callable[[F], F]: ...


def walker(
    function: F | None = None,
    /,
    *,
    methods: Iterable[str] = ("post",),
    auth: bool = True,
    path: str = "",
    as_query: str | Iterable[str] = (),
) -> F | Callable[[F], F]:
    """Make a function a walker, named as the function is; the function itself stays as it was.

    `methods`: `websocket` and HTTP methods. `auth`: needs a user; False makes it a walker of the public.
    `path`: follows the name in the URL, with fields in braces. `as_query`: fields, or `"*"` for all, that
    stand in the query over HTTP; requests without a body have them all there.
    Raises ImproperlyConfigured when it cannot be called so, or when the name is taken.
    """

    def register(function: F) -> F:
        made = _make(function, tuple(method.lower() for method in methods), auth, path, as_query)
        known = WALKERS.get(made.name)
        if known is not None and known.function.__module__ != function.__module__:
            raise ImproperlyConfigured(
                f"walker {made.name}: in {known.function.__module__} and in {function.__module__}"
            )
        WALKERS[made.name] = made
        return function

    return register if function is None else register(function)


def _make(
    function: Callable[..., Any],
    methods: tuple[str, ...],
    auth: bool,
    path: str,
    as_query: str | Iterable[str],
) -> Walker:
    name = function.__name__
    fields = _fields(function)
    known = set(fields.model_fields)
    query = known if as_query == "*" else {as_query} if isinstance(as_query, str) else set(as_query)
    path = f"/{path.lstrip('/')}" if path else ""
    if unknown := (query | set(_VARIABLE.findall(path))) - known:
        raise ImproperlyConfigured(f"walker {name}: no field {', '.join(sorted(unknown))}")
    if wrong := set(methods) - {WEBSOCKET, *HTTP_METHODS}:
        raise ImproperlyConfigured(f"walker {name}: unknown method {', '.join(sorted(wrong))}")
    return Walker(name, function, fields, tuple(dict.fromkeys(methods)), auth, path, frozenset(query))


def _fields(function: Callable[..., Any]) -> type[BaseModel]:
    name = function.__name__
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise ImproperlyConfigured(f"walker {name}: {parameter} cannot be a field")
        if parameter.name.startswith(("_", "model_")):
            raise ImproperlyConfigured(
                f"walker {name}: pydantic keeps names like {parameter.name} for itself"
            )
        if parameter.name not in hints:
            raise ImproperlyConfigured(f"walker {name}: the field {parameter.name} has no type")
        required = parameter.default is parameter.empty
        fields[parameter.name] = (hints[parameter.name], ... if required else parameter.default)
    with warnings.catch_warnings():
        # Fields like `json` or `copy` hide methods of BaseModel that are not used here.
        warnings.filterwarnings("ignore", message=".* shadows an attribute in parent")
        return create_model(name, **fields)
