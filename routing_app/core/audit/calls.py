"""Which REST calls are recorded, and what an entry says of one.

A call is recorded when it changes something, or is refused. Publishing is traffic: it is recorded only when
it is refused. A view says more of itself where it wants to: `about`, `traffic`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from django.http import HttpRequest
from django.urls import Resolver404, ResolverMatch, resolve

from routing_app.core.audit.actor import NOBODY, actor_of_request
from routing_app.core.audit.entries import OK, network_of, record
from routing_app.core.audit.refusals import REFUSALS
from routing_app.core.models import Scope
from routing_app.core.rest import mount

logger = logging.getLogger(__name__)

OPERATORS: Final = ("/api/", "/admin/")
ALSO: Final = frozenset({"/", "/metrics"})
"""The form API, and the metrics."""
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
UNAVAILABLE: Final = 503
"""The status while Redis or the database is out: nothing was changed, and an entry has nowhere to go."""
WAIT_SECONDS: Final = 1.0
"""Longest time that an answer waits for its entry."""
REFUSED: Final = frozenset({401, 403, 429})
"""Statuses that are recorded whatever was called."""
WORDS: Final = {
    "create": "create",
    "update": "change",
    "partial_update": "change",
    "destroy": "delete",
}
"""The actions of viewsets that change rows, as the admin's changes are named, too."""
PARAMETER: Final = re.compile(r"<[^>]*>/?")

SPOKEN: Final = "audit_about"
DONE: Final = "audit_done"
View = TypeVar("View", bound=Callable[..., Any])


@dataclass(slots=True)
class About:
    """What a view says of one call; empty strings say nothing."""

    action: str = ""
    target: str = ""
    traffic: bool = False


TRAFFIC: Final = About(traffic=True)


def traffic(view: View) -> View:
    """Decorate a view whose calls change nothing that an operator would ask for."""
    view.is_traffic = True  # type: ignore[attr-defined]  # as Django marks views
    return view


def about(request: HttpRequest, target: str = "", action: str = "", traffic: bool = False) -> None:
    """Say what one call does; `target` never holds a secret, a whole token or a message."""
    request.__dict__[SPOKEN] = About(action, target, traffic) if target or action else TRAFFIC


def done(request: HttpRequest) -> None:
    """Say that the change of a request is recorded already."""
    request.__dict__[DONE] = True


def is_done(request: HttpRequest) -> bool:
    """True when the change of a request is recorded."""
    return DONE in request.__dict__


def is_of_operators(path: str) -> bool:
    """False for a path of clients, whose traffic is not recorded."""
    path_below = mount.below(path)
    return path_below is not None and (path_below.startswith(OPERATORS) or path_below in ALSO)


def is_recorded(request: HttpRequest, match: ResolverMatch | None, status: int) -> bool:
    """True for a call whose answer of this status makes an entry that is not there yet."""
    if status in REFUSED:
        return True
    if request.method in SAFE or status == UNAVAILABLE or (status < 400 and is_done(request)):
        return False
    return not _is_traffic(request, match)


def finish(request: HttpRequest, match: ResolverMatch | None, status: int) -> list[asyncio.Future[Any]]:
    """Record a call for which `is_recorded`. Uses the ORM; an error is logged, since the call is over."""
    try:
        actor, network = actor_of_request(request), network_of(request)
        # Where the form API is open, nobody may change tokens, and do so again and again.
        if (status < 400 and actor is not NOBODY) or REFUSALS.take(actor, network):
            return record(*describe(request, match), _outcome(status), actor, network)
    except Exception as error:
        logger.warning("audit: a call answered %s is not recorded: %s", status, type(error).__name__)
    return []


async def finish_on_loop(request: HttpRequest, match: ResolverMatch | None, status: int) -> None:
    """The same on the loop, for views that have noted their caller: a caller that has its answer finds the
    entry, but where the database takes long.
    """
    if pending := finish(request, match, status):
        await asyncio.wait(pending, timeout=WAIT_SECONDS)


def _outcome(status: int) -> str:
    if status < 400:
        return OK
    return f"refused: {status}" if status < 500 else f"failed: {status}"


def describe(request: HttpRequest, match: ResolverMatch | None) -> tuple[str, str]:
    """(action, target) of a call."""
    said: About = request.__dict__.get(SPOKEN, TRAFFIC)
    match = match or _match_of(request)
    action, target = _of_view(request, match) if match is not None else ("", "")
    if not action:
        action = "read" if request.method in SAFE else "delete" if request.method == "DELETE" else "change"
    return said.action or action, said.target or target


def target_of(model: Any, pk: object) -> str:
    """The name of a row; of the rows of a model where `pk` is empty."""
    return f"{model._meta.label_lower} {pk}".strip()


def model_of(view: Any) -> Any:
    """The model of a view of REST Framework, or of its class; None for a view without one."""
    return getattr(getattr(view, "queryset", None), "model", None)


def lookup_of(view: Any) -> str:
    """The word of its paths that names a row."""
    return str(getattr(view, "lookup_url_kwarg", None) or getattr(view, "lookup_field", "pk"))


def _match_of(request: HttpRequest) -> ResolverMatch | None:
    """The view of a request that has not come to it."""
    scope: dict[str, Any] = request.__dict__.get("scope") or {"path": request.path_info}
    try:
        return resolve(scope["path"].removeprefix(scope.get("root_path", "")))
    except Resolver404:
        return None


def _of_view(request: HttpRequest, match: ResolverMatch) -> tuple[str, str]:
    """The same by the view that was called; an empty action is that of the method."""
    view: Any = match.func
    method = request.method or ""
    model = model_of(getattr(view, "cls", None))
    if model is not None:
        name = getattr(view, "actions", {}).get(method.lower(), "")
        action = "" if method in SAFE else WORDS.get(name, name)
        return action, target_of(model, match.kwargs.get(lookup_of(view.cls), ""))
    # The path of a known view is made of its own words and of parameters, which are ids.
    scope: dict[str, Any] | None = request.__dict__.get("scope")
    path = request.path if scope is None else scope["path"]
    is_named = method == "POST" and match.app_name != "admin"
    return (
        PARAMETER.sub("", match.route).removeprefix(f"{mount.prefix()}/"[1:]).removeprefix("api/").strip("/")
        if is_named
        else ""
    ), path


def _is_traffic(request: HttpRequest, match: ResolverMatch | None) -> bool:
    said: About | None = request.__dict__.get(SPOKEN)
    if said is not None:
        return said.traffic
    view: Any = match.func if match is not None else None
    if getattr(view, "is_traffic", False):
        return True
    # REST Framework's views say what scope they need; the initkwargs of an action come first.
    scopes: dict[str, str] = getattr(view, "initkwargs", {}).get("scopes") or getattr(
        getattr(view, "cls", None), "scopes", {}
    )
    return scopes.get(request.method or "") == Scope.PUBLISH
