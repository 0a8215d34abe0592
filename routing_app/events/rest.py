"""Shared by the REST endpoints of the events protocol: bearer tokens, bodies, errors in FastAPI's shapes.

The original is a FastAPI application; its clients read `detail`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import orjson
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from pydantic import BaseModel, ValidationError
from rest_framework import status
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import APIException, MethodNotAllowed, PermissionDenied
from rest_framework.exceptions import NotAuthenticated as NoCredentials
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from routing_app.core.access import cors
from routing_app.core.access.bearer import bearer_token
from routing_app.core.json import NotJSON, loads
from routing_app.core.rest.parsers import StrictJSONParser
from routing_app.core.rest.views import OfBroker
from routing_app.core.revocations.known import is_revoked
from routing_app.events import credentials
from routing_app.events.models import LoginToken
from routing_app.events.walker_context import Visitor
from routing_app.events.wire import excess

M = TypeVar("M", bound=BaseModel)

Items = list[dict[str, Any]]


class RestProblem(Exception):
    """An answer other than success: a status and a body."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(str(status))
        self.status = status
        self.body = body

    @classmethod
    def detail(cls, status: int, detail: Any) -> RestProblem:
        """With the body `{"detail": …}`."""
        return cls(status, {"detail": detail})

    @classmethod
    def invalid(cls, items: Items) -> RestProblem:
        """422 with validation items."""
        return cls.detail(status.HTTP_422_UNPROCESSABLE_ENTITY, items)


NOT_FOUND: Final = RestProblem.detail(404, "Not Found")


class Unauthorized(APIException):
    """The bearer token is wrong, expired or revoked."""

    status_code = 401
    default_detail = "Unauthorized"


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <login token>`; a request without one is left to the permission."""

    def authenticate(self, request: Request) -> tuple[Any, Visitor] | None:
        """The user and the visitor. Raises Unauthorized."""
        token = bearer_token(get_authorization_header(request).decode("latin-1"))
        if not token:
            return None
        visitor = credentials.check(token)
        if visitor is None or is_revoked(credentials.carried(visitor)):
            raise Unauthorized
        user = LoginToken.objects.select_related("user").get(jti=visitor.jti).user
        return user, visitor


class HasToken(BasePermission):
    """Needs a valid login token."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Was one presented?"""
        return isinstance(request.auth, Visitor)


class EventsView(OfBroker, APIView):
    """A view of the events protocol; answers errors as the original does."""

    describes_own_errors = True
    authentication_classes: Sequence[type[BaseAuthentication]] = (BearerAuthentication,)
    permission_classes: Sequence[type[BasePermission]] = (HasToken,)
    parser_classes = (StrictJSONParser,)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """A preflight carries no token, and is answered before anybody asks for one."""
        response = (
            HttpResponse(status=204)
            if request.method == "OPTIONS"
            else super().dispatch(request, *args, **kwargs)
        )
        return cors.allow(request, response, settings.ORIGINS["events"], ", ".join(self.allowed_methods))

    def handle_exception(self, exc: Exception) -> Response:
        """Problems and DRF's own exceptions as responses; anything else goes on to Django."""
        if isinstance(exc, RestProblem):
            return Response(exc.body, status=exc.status)
        if isinstance(exc, NoCredentials | PermissionDenied):
            return Response({"detail": "Not authenticated"}, status=403)
        if isinstance(exc, MethodNotAllowed):
            return Response({"detail": "Method Not Allowed"}, status=405)
        return super().handle_exception(exc)


class NotFoundView(EventsView):
    """Answers paths below a prefix that are nowhere else."""

    authentication_classes = ()
    permission_classes = ()
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """404, whatever the method."""
        raise NOT_FOUND


def read_body(request: Request) -> Any:
    """The decoded JSON body; None when it is empty. Raises RestProblem: 422, as FastAPI does; 413."""
    try:
        raw = request._request.body
    except RequestDataTooBig:
        raise RestProblem.detail(413, "Payload Too Large") from None
    if not raw:
        return None
    try:
        return loads(raw, surrogates=False)
    except NotJSON as error:
        facts = {"type": "json_invalid", "loc": ["body", error.pos], "msg": "JSON decode error", "input": {}}
        raise RestProblem.invalid([{**facts, "ctx": {"error": error.msg}}]) from None


def bounded(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fields that can be passed on, as on the socket, those that are ignored unread. Raises RestProblem."""
    if wrong := excess(fields):
        raise RestProblem.invalid(bad_value(["body"], [wrong]))
    return fields


def read_fields(request: Request) -> Mapping[str, Any]:
    """A body that is an object. Raises RestProblem."""
    body = read_body(request)
    if body is None:
        raise RestProblem.invalid([missing("body")])
    if not isinstance(body, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        raise RestProblem.invalid(
            [{"type": "model_attributes_type", "loc": ["body"], "msg": message, "input": body}]
        )
    return body


def read(model: type[M], request: Request) -> M:
    """A body of a certain shape. Raises RestProblem."""
    fields = read_fields(request)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise RestProblem.invalid(items(error, lambda name: "body")) from None


def missing(*loc: str) -> dict[str, Any]:
    """The item of something that is not there."""
    return {"type": "missing", "loc": list(loc), "msg": "Field required", "input": None}


def bad_value(loc: Iterable[str], messages: Iterable[str]) -> Items:
    """The items of a value that our own rules refuse; the value itself is not repeated."""
    return [{"type": "value_error", "loc": list(loc), "msg": message, "input": None} for message in messages]


def items(error: ValidationError, place_of: Any) -> Items:
    """Validation items without `url`, each `loc` led by the place of its field."""
    found: Items = orjson.loads(error.json(include_url=False))
    for item in found:
        item["loc"] = [place_of(str(item["loc"][0])) if item["loc"] else "body", *item["loc"]]
    return found


# --- bodies, for the OpenAPI document --------------------------------------------------------------------


class Detail(BaseModel):
    """An error in one sentence."""

    detail: str


class Item(BaseModel):
    """One thing that is wrong with a request."""

    type: str
    loc: list[str | int]
    msg: str
    input: Any = None
    ctx: dict[str, Any] | None = None


class Invalid(BaseModel):
    """Everything that is wrong with a request."""

    detail: list[Item]


class Message(BaseModel):
    """The message of an answer."""

    message: str
