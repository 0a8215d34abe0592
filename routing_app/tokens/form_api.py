"""The form API at `/` and `/api/`: the original's control API, with keys.

`method` selects; fields come from a form, a JSON object or the query string. Errors are `{"error": "..."}`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from json import dumps
from typing import Any, Final
from urllib.parse import unquote_plus

import django.db
from django.conf import settings
from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation, TooManyFieldsSent
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import redirect
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException, AuthenticationFailed

from routing_app.core import json, metrics
from routing_app.core.access.bearer import presented_key
from routing_app.core.access.credentials import needs_credential
from routing_app.core.access.grants import UNBOUNDED, Grant, GrantKind
from routing_app.core.access.handshake import RETRY_AFTER_SECONDS
from routing_app.core.access.masking import SecretAccess, mask
from routing_app.core.access.staff import PUBLISH
from routing_app.core.address import Address
from routing_app.core.audit.calls import about
from routing_app.core.codes import Advice, Refusal
from routing_app.core.database import query
from routing_app.core.hooks.over_http import asked_over_http
from routing_app.core.hooks.question import Question, Verdict
from routing_app.core.models import Scope
from routing_app.core.rest.authorization import (
    CSRFFailed,
    NotForTokens,
    PermissionMissing,
    ScopeMissing,
    authorize,
)
from routing_app.core.rest.fast import JsonAnswer, view_of
from routing_app.core.rest.middleware import BACKING_SERVICES
from routing_app.core.worker import current_worker
from routing_app.tokens import service, wire
from routing_app.tokens.models import Source

logger = logging.getLogger(__name__)

NOT_KEPT: Final = (("Cache-Control", "max-age=0, no-cache, no-store, must-revalidate, private"),)
"""A proxy that kept the answer to a GET would swallow the next broadcast."""
OPEN: Final = replace(UNBOUNDED, secrets=SecretAccess(everything=True))
"""The rights of anybody, where the API is open."""
TARGET: Final = "tokens.registeredtoken"
"""Of changes in the audit log, before the masked token."""
FORM: Final = "application/x-www-form-urlencoded"
UNREADABLE: Final = (BadRequest, SuspiciousOperation, MultiPartParserError, UnreadablePostError, ValueError)


class FormDenied(Exception):
    """The call is refused with a status and a sentence."""

    def __init__(self, status: int, sentence: str, reason: Refusal = Refusal.MALFORMED) -> None:
        super().__init__(sentence)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a call: the body's, and behind them those of the query string."""

    body: Mapping[str, str]
    query: Mapping[str, str]

    def get(self, *names: str) -> str:
        """The first of these fields that is there and not empty; else ""."""
        return next((value for name in names if (value := self._one(name))), "")

    def require(self, *names: str) -> str:
        """The same for a field that must be there. Raises FormDenied."""
        if value := self.get(*names):
            return value
        raise FormDenied(400, f"the field {' or '.join(names)} is missing")

    def _one(self, name: str) -> str:
        return self.body.get(name) or self.query.get(name, "")


@dataclass(frozen=True, slots=True)
class FormAnswer:
    """A body for our clients, and the original's string for those of `TOKENS_WIRE_COMPAT`."""

    body: bytes
    original: str = ""


async def answer_call(request: HttpRequest) -> JsonAnswer | HttpResponse:
    """Answer one call."""
    answer = await _answer_or_refuse(request)
    if isinstance(answer, HttpResponse):
        for name, value in NOT_KEPT:
            answer[name] = value
    return answer


form_api = csrf_exempt(view_of(answer_call))


async def _answer_or_refuse(request: HttpRequest) -> JsonAnswer | HttpResponse:
    try:
        return await _answer(request)
    except FormDenied as denied:
        return _refuse(denied)
    except wire.LimitExceeded as error:
        return _refuse(FormDenied(400, str(error), Refusal.TOO_BIG))
    except wire.TokenWireError as error:
        return _refuse(FormDenied(400, str(error)))
    except django.db.Error as error:
        logger.warning("tokens: form API: the database does not answer: %s", error)
        return _refuse(FormDenied(503, "the database does not answer", Refusal.UNAVAILABLE))
    except BACKING_SERVICES as error:
        logger.warning("tokens: form API: a backing service is down: %s", error)
        return _refuse(FormDenied(503, "a backing service is down", Refusal.UNAVAILABLE))


async def _answer(request: HttpRequest) -> JsonAnswer | HttpResponse:
    about(request, traffic=True)
    if request.method not in {"GET", "POST"}:
        raise FormDenied(405, "only GET and POST are answered")
    if request.method == "POST":  # until it is known what is asked for
        about(request, "/", "call")
    fields = _read_fields(request)
    name = fields.get("method")
    # A browser names HTML; programs send `*/*`, which would match it as well.
    if not name and request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
        return redirect("console:overview")
    method = METHODS.get(name)
    if method is not None:
        if method.scope == Scope.MANAGE:
            about(request, f"{TARGET} {mask(fields.get('token', 'message'))}".strip(), name)
        else:
            about(request, traffic=True)
        grant = await _authorize(request, fields, method)
        return _reply(await method.run(request, fields, grant))
    if settings.TOKENS_WIRE_COMPAT:
        about(request, traffic=True)
        return _reply(FormAnswer(b""))
    raise FormDenied(400, f"the field method names none of {', '.join(METHODS)}")


def _reply(answer: FormAnswer) -> JsonAnswer | HttpResponse:
    """The answer in the shape that this server's clients expect."""
    if settings.TOKENS_WIRE_COMPAT:
        return HttpResponse(answer.original, content_type="text/plain; charset=utf-8")
    return JsonAnswer(answer.body, NOT_KEPT)


def _refuse(denied: FormDenied) -> HttpResponse:
    metrics.REFUSED.labels("tokens", denied.reason).inc()
    response = JsonResponse({"error": str(denied)}, status=denied.status)
    if denied.status == 401:
        response["WWW-Authenticate"] = "Bearer"
    if denied.status == 503:
        response["Retry-After"] = str(RETRY_AFTER_SECONDS[Advice.LATER])
    if denied.status == 405:
        response["Allow"] = "GET, POST"
    return response


# --- reading ---------------------------------------------------------------------------------------------


def _read_fields(request: HttpRequest) -> Fields:
    """All fields. Raises FormDenied."""
    try:
        return Fields(_body_fields(request), request.GET.dict() if request.GET else {})
    except RequestDataTooBig:
        raise FormDenied(413, "the body is too large", Refusal.TOO_BIG) from None
    except UNREADABLE:
        raise FormDenied(400, "the request cannot be read") from None


def _body_fields(request: HttpRequest) -> Mapping[str, str]:
    if request.method == "POST" and request.content_type == "application/json":
        return _json_body(request)
    if request.method == "POST" and request.headers.get("Content-Type") == FORM and request.body.isascii():
        return _form_body(request.body.decode())
    return request.POST.dict()


def _form_body(body: str) -> dict[str, str]:
    """What `request.POST.dict()` reads in it, in a fourth of the time. Raises TooManyFieldsSent."""
    pairs = [pair.partition("=") for pair in body.split("&") if pair]
    if len(pairs) > settings.DATA_UPLOAD_MAX_NUMBER_FIELDS:
        raise TooManyFieldsSent
    return {unquote_plus(name): unquote_plus(value) for name, _, value in pairs}


def _json_body(request: HttpRequest) -> dict[str, str]:
    """A JSON object of strings; an empty body is an empty one, as callers of the original send it."""
    if not request.body.strip():
        return {}
    try:
        fields = json.loads(request.body)
    except json.NotJSON:
        raise FormDenied(400, "the body is not JSON") from None
    if not isinstance(fields, dict):
        raise FormDenied(400, "the body is not a JSON object")
    for name, value in fields.items():
        if not isinstance(value, str):
            raise FormDenied(400, f"the field {name[:40]} is not a string")
        if not _is_unicode(name + value):
            raise FormDenied(400, "the body holds half of a surrogate pair")
    return fields


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- permissions ------------------------------------------------------------------------------------------


async def _authorize(request: HttpRequest, fields: Fields, method: Method) -> Grant:
    """The rights of a key, a token, a staff session, or with TOKENS_API_OPEN of any client.

    A session changes and sends by POST alone: a page of another site can have a browser GET anything. Where
    the API is open, any client may change tokens, and so sees them; with TOKENS_ACCESS=token it is not.
    Raises FormDenied.
    """
    plain = presented_key(request) or fields.get("key")
    is_open = settings.TOKENS_API_OPEN and not needs_credential("tokens")
    if is_open and not plain:
        return OPEN
    # A key that is presented is checked even where the API is open: a wrong one is a mistake worth an answer.
    try:
        by_token = method.scope is Scope.PUBLISH
        grant = await authorize(request, method.scope, plain, method.permission, tokens=by_token)
    except (ScopeMissing, NotForTokens) as error:
        if is_open:
            return OPEN
        if isinstance(error, NotForTokens):
            raise FormDenied(403, "an access token may only broadcast", Refusal.FORBIDDEN) from None
        raise FormDenied(403, f"the API key lacks the scope {method.scope}", Refusal.FORBIDDEN) from None
    except APIException as error:
        raise _denied(error) from None
    if grant.kind is GrantKind.STAFF and method.scope != Scope.READ and request.method != "POST":
        raise FormDenied(403, "with a session only POST may change or send anything", Refusal.FORBIDDEN)
    return OPEN if is_open else grant


def _not_allowed() -> FormDenied:
    return FormDenied(403, "the credential does not allow this address", Refusal.FORBIDDEN)


def _denied(error: APIException) -> FormDenied:
    match error:
        case AuthenticationFailed():
            return FormDenied(401, "the API key is wrong or revoked", Refusal.FORBIDDEN)
        case CSRFFailed():
            return FormDenied(403, f"CSRF check: {error.reason}", Refusal.FORBIDDEN)
        case PermissionMissing():
            return FormDenied(403, f"this user lacks the permission {error.permission}", Refusal.FORBIDDEN)
        case _:
            sentence = "an API key is needed: X-API-Key, Authorization: Bearer, or the field key"
            return FormDenied(401, sentence, Refusal.FORBIDDEN)


# --- the methods ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Method:
    """One method: what it does, and the scope that a key needs for it, or the permission of a user."""

    scope: Scope
    permission: str
    run: Callable[[HttpRequest, Fields, Grant], Awaitable[FormAnswer]] = field(repr=False)


async def _broadcast(request: HttpRequest, fields: Fields, grant: Grant) -> FormAnswer:
    await current_worker().hooks.freshen()

    def ask_about(address: Address, payload: str) -> Question:
        return asked_over_http(request, "tokens", grant.identity, address, payload)

    try:
        outcome = await service.broadcast(fields.require("message"), grant, ask_about)
    except service.ReceiverDenied:
        raise _not_allowed() from None
    except service.HookDenied as denied:
        raise _refused_by(denied.verdict) from None
    return FormAnswer(b'{"ok": true, %b' % outcome.as_bytes()[1:])


def _refused_by(verdict: Verdict) -> FormDenied:
    if verdict.unavailable:
        return FormDenied(
            503, "the backend that decides gave no valid answer; try again", Refusal.UNAVAILABLE
        )
    return FormDenied(403, verdict.reason or "the backend refuses this address", Refusal.HOOK)


async def _register(request: HttpRequest, fields: Fields, grant: Grant) -> FormAnswer:
    change = await query(service.register, _own(fields, grant), Source.API)
    return FormAnswer(_json({"ok": True, "changed": change}))


async def _unregister(request: HttpRequest, fields: Fields, grant: Grant) -> FormAnswer:
    changed = await query(service.unregister, _own(fields, grant), Source.API)
    return FormAnswer(_json({"ok": True, "changed": "disabled" if changed else "nothing"}))


def _own(fields: Fields, grant: Grant) -> str:
    """The token of a call. Raises FormDenied for one that is not among the caller's addresses."""
    token = fields.require("token", "message")
    if not grant.addresses.cover(wire.address_of(token.strip())):
        raise _not_allowed()
    return token


async def _clients(request: HttpRequest, fields: Fields, grant: Grant) -> FormAnswer:
    return _listing(await query(service.clients, grant))


async def _registered(request: HttpRequest, fields: Fields, grant: Grant) -> FormAnswer:
    return _listing(await query(service.registered, grant))


def _json(answer: Mapping[str, Any]) -> bytes:
    return dumps(answer).encode()


def _listing(rows: Mapping[str, Any]) -> FormAnswer:
    return FormAnswer(_json(rows), wire.go_json(rows))


METHODS: Final = {
    "broadcast": Method(Scope.PUBLISH, PUBLISH, _broadcast),
    "get_clients": Method(Scope.READ, "core.view_connectionrecord", _clients),
    "registerToken": Method(Scope.MANAGE, "tokens.add_registeredtoken", _register),
    "unregisterToken": Method(Scope.MANAGE, "tokens.change_registeredtoken", _unregister),
    "registeredTokenList": Method(Scope.READ, "tokens.view_registeredtoken", _registered),
}
