"""Every walker with an HTTP method as an endpoint: `/walker/<name>`, and `/walker/<name>/<node>`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin

from django.urls import URLPattern, path, re_path
from drf_spectacular.utils import OpenApiParameter, extend_schema
from pydantic import BaseModel, ValidationError, create_model
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from routing_app.core import metrics
from routing_app.core.access.handshake import RETRY_AFTER_SECONDS
from routing_app.core.codes import Advice, Refusal
from routing_app.core.hooks.over_http import asked_over_http
from routing_app.core.hooks.question import Question
from routing_app.core.synchronous import from_sync
from routing_app.core.worker import current_worker
from routing_app.events.access import has_user_for
from routing_app.events.decisions import NotAnswered, WalkerRefused
from routing_app.events.decisions import run as run_by_backend
from routing_app.events.nodes import NoAccess
from routing_app.events.rest import (
    NOT_FOUND,
    Detail,
    EventsView,
    Invalid,
    NotFoundView,
    RestProblem,
    bounded,
    items,
    read_fields,
)
from routing_app.events.walker_context import PUBLIC, Visitor, WalkerCall
from routing_app.events.walker_runner import WalkerFailed, WalkerUnavailable, run
from routing_app.events.walkers import METHODS_WITH_BODY, WALKERS, Walker
from routing_app.events.wire import BadReference

_run = from_sync(run, wait=None)


class Envelope(BaseModel):
    """The answer of a walker: what it reported, in order."""

    status: int
    reports: list[Any]


class Failure(BaseModel):
    """A walker that ended with an exception, or ran too long."""

    errors: list[str]


class WalkerRefusal(BaseModel):
    """A node of others."""

    error: str


class NoAccessDetail(BaseModel):
    """No access to the node; or no token."""

    detail: WalkerRefusal | str


class MayCall(BasePermission):
    """Leaves the decision to the rules of access."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """May this visitor call the walker of this view?"""
        return isinstance(view, WalkerView) and has_user_for(view.walker, _visitor(request))


class WalkerView(EventsView):
    """One walker; its subclasses name it."""

    walker: ClassVar[Walker]
    permission_classes = (MayCall,)

    def run(self, request: Request, node: str = "", **variables: str) -> Response:
        """Check the fields, run the walker, and answer with its envelope."""
        walker, method = self.walker, (request.method or "").lower()
        context = _context(walker, method, request, variables)
        try:
            reports = _run(walker, context, WalkerCall(_visitor(request), node=node))
        except ValidationError as error:
            raise RestProblem.invalid(items(error, lambda name: walker.place_of(name, method))) from None
        except BadReference:
            raise NOT_FOUND from None
        except NoAccess as error:
            raise RestProblem.detail(403, {"error": str(error)}) from None
        except WalkerUnavailable as error:
            metrics.REFUSED.labels("events", Refusal.UNAVAILABLE).inc()
            return Response({"errors": error.lines}, status=503, headers=_later())
        except WalkerFailed as error:
            raise RestProblem(500, {"errors": error.lines}) from None
        return Response({"status": 200, "reports": reports})


class BackendWalkerView(EventsView):
    """A walker that no app has, and that a backend answers where a hook says so: by POST."""

    permission_classes = ()
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """404 for what no hook concerns, before any token is looked at."""
        name = kwargs["name"]
        if request.method != "POST" or name in WALKERS or not _concerns_hook(name):
            raise NOT_FOUND
        super().initial(request, *args, **kwargs)

    def post(self, request: Request, name: str) -> Response:
        """Ask the backend, and answer with an envelope as a walker does."""
        context = bounded(read_fields(request)) if request._request.body else {}
        asked = asked_over_http(request._request, "events", _visitor(request).root_id, name, context)
        try:
            reports = _run_by_backend(asked)
        except NotAnswered:
            raise NOT_FOUND from None
        except WalkerRefused as refused:
            metrics.REFUSED.labels("events", refused.refusal).inc()
            if not refused.unavailable:
                raise RestProblem.detail(403, {"error": str(refused)}) from None
            return Response({"detail": {"error": str(refused)}}, status=503, headers=_later())
        except WalkerFailed as error:
            raise RestProblem(500, {"errors": error.lines}) from None
        return Response({"status": 200, "reports": reports})


def _later() -> dict[str, str]:
    return {"Retry-After": str(RETRY_AFTER_SECONDS[Advice.LATER])}


async def _concerns(name: str) -> bool:
    hooks = current_worker().hooks
    await hooks.freshen()
    several = hooks.of("events").request
    return several is not None and several.concerns(name)


async def _ask(asked: Question) -> list[Any]:
    hooks = current_worker().hooks
    if (several := hooks.of("events").request) is None:  # deleted since it was looked for
        raise NotAnswered
    return await run_by_backend(hooks, several, asked)


_concerns_hook = from_sync(_concerns)
_run_by_backend = from_sync(_ask, wait=None)


def _visitor(request: Request) -> Visitor:
    return request.auth if isinstance(request.auth, Visitor) else PUBLIC


def _context(walker: Walker, method: str, request: Request, variables: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a request, from body, query and path. Raises RestProblem."""
    body = read_fields(request) if _in(walker, "body", method) else {}
    query: dict[str, Any] = {}
    for name in _in(walker, "query", method):
        if values := request.query_params.getlist(name):
            many = _takes_many(walker.fields.model_fields[name].annotation)
            query[name] = values if many else values[-1]
    known = set(_in(walker, "body", method))
    fields = bounded({name: value for name, value in body.items() if name in known})
    return {**fields, **query, **variables}


def _in(walker: Walker, place: str, method: str) -> list[str]:
    return [name for name in walker.fields.model_fields if walker.place_of(name, method) == place]


def _takes_many(annotation: Any) -> bool:
    """Is a type a list or the like, or may it be one?"""
    origin = get_origin(annotation)
    if origin in {Union, UnionType}:
        return any(map(_takes_many, get_args(annotation)))
    return (origin or annotation) in {list, set, tuple, frozenset}


# --- views and their paths -------------------------------------------------------------------------------


def urlpatterns() -> list[URLPattern]:
    """The paths of all walkers, and 404 in the original's shape for the rest."""
    patterns = [
        pattern for walker in WALKERS.values() if walker.http_methods for pattern in _patterns(walker)
    ]
    by_backend = path("walker/<str:name>", BackendWalkerView.as_view())
    return [*patterns, by_backend, re_path("^walker/", NotFoundView.as_view())]


def _patterns(walker: Walker) -> list[URLPattern]:
    variables = re.sub(r"{([^{}]*)}", r"<str:\1>", walker.path)
    return [
        path(f"walker/{walker.name}{variables}", _view(walker, at_node=False).as_view()),
        path(f"walker/{walker.name}/<str:node>{variables}", _view(walker, at_node=True).as_view()),
    ]


def _view(walker: Walker, at_node: bool) -> type[WalkerView]:
    attributes: dict[str, Any] = {"walker": walker, "__doc__": walker.function.__doc__}
    if not walker.auth:
        attributes["authentication_classes"] = ()
    attributes |= {method: _handler(walker, method, at_node) for method in walker.http_methods}
    return type(f"{walker.name}_view", (WalkerView,), attributes)


def _handler(walker: Walker, method: str, at_node: bool) -> Callable[..., Response]:
    def handle(self: WalkerView, request: Request, **variables: str) -> Response:
        return self.run(request, **variables)

    handle.__doc__ = walker.function.__doc__ or f"Run the walker {walker.name}."
    documented: Callable[..., Response] = extend_schema(
        operation_id=f"walker_{walker.name}_{method}" + ("_at_node" if at_node else ""),
        auth=None if walker.auth else [],
        parameters=_parameters(walker, method, at_node),
        request=_body_model(walker, method),
        responses=_responses(walker),
    )(handle)
    return documented


def _parameters(walker: Walker, method: str, at_node: bool) -> list[OpenApiParameter]:
    schema = walker.fields.model_json_schema()
    properties = _inlined(schema.get("properties", {}), schema.get("$defs", {}))
    found = [
        OpenApiParameter(
            name,
            type=properties[name],
            location=place,
            required=place == "path" or name in schema.get("required", ()),
        )
        for place in (OpenApiParameter.PATH, OpenApiParameter.QUERY)
        for name in _in(walker, place, method)
    ]
    if at_node:
        note = "Reference of the entry node, `n:<name>:<24 hex digits>`."
        found.append(OpenApiParameter("node", str, OpenApiParameter.PATH, description=note))
    return found


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """A schema with what it refers to in place: a parameter has no `$defs` of its own."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if name := schema.get("$ref"):
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return _inlined(definitions[name.rpartition("/")[2]] | rest, definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items()}


def _body_model(walker: Walker, method: str) -> type[BaseModel] | None:
    if method not in METHODS_WITH_BODY or not (names := _in(walker, "body", method)):
        return None
    fields = walker.fields.model_fields
    definitions: dict[str, Any] = {name: (fields[name].annotation, fields[name]) for name in names}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* shadows an attribute in parent")
        return create_model(f"walker_{walker.name}_{method}", **definitions)


def _responses(walker: Walker) -> dict[int, Any]:
    denied = {401: Detail} if walker.auth else {}
    return {200: Envelope, **denied, 403: NoAccessDetail, 404: Detail, 422: Invalid, 500: Failure}
