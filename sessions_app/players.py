"""REST for players: `/sessions`, `/takeover` and what belongs to them. Documented in `openapi.py`.

Plain Django, and asynchronous, because an answer at a limit may have to wait for players to prove that they
live. A body is read as JSON whatever its Content-Type: stock players send text/plain.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import RawPostDataException
from django.views.decorators.csrf import csrf_exempt

from routing_app.core import metrics
from routing_app.core.access import cors
from routing_app.core.access.bearer import bearer_token
from routing_app.core.access.grants import NOBODY
from routing_app.core.codes import REVOKED, Refusal
from routing_app.core.delivery.connection import Peer
from routing_app.core.hooks.over_http import asked_over_http
from routing_app.core.hooks.refusing import refusal_of
from routing_app.core.jwt.jwks import KeysUnavailable
from routing_app.core.jwt.token import TokenRefused
from routing_app.core.rate_limits.arriving import retry_after
from routing_app.core.rate_limits.limit import Passing
from routing_app.core.rest.bodies import limited
from routing_app.core.worker import current_worker
from sessions_app import revocations, service, session_tokens, wire
from sessions_app.access import Customer, authenticate
from sessions_app.commands import Granted, LimitReached, Listing, NoSuchSession, TakeoverOff
from sessions_app.store import AccountKey

logger = logging.getLogger(__name__)

MAX_BODY: Final = 16 * 1024
RETRY_SECONDS: Final = 5
"""Seconds that a player is told to wait while the database is out."""

CREATE: Final = "create"
TAKEOVER: Final = "takeover"
"""Types of the requests that hooks are asked about."""

View = Callable[..., Any]
"""A coroutine function; Django's stubs know synchronous views only."""


class PlayerProblem(Exception):
    """An answer that is not a success: its status, its body, and headers."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = wire.error(code, message)
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def response(self) -> HttpResponse:
        """As HTTP."""
        return JsonResponse(self.body, status=self.status, headers=self.headers)


def serves(*methods: str, creates: bool = False) -> Callable[[View], View]:
    """A view for these methods: CORS, preflight, 405, and every PlayerProblem as JSON.

    `creates`: a POST makes a session, and is timed.
    """
    allowed = ", ".join((*methods, "OPTIONS"))

    def decorate(view: View) -> View:
        async def answer(request: HttpRequest, **path: str) -> HttpResponse:
            if request.method == "OPTIONS":
                return cors.allow(request, HttpResponse(status=204), settings.ORIGINS["sessions"], allowed)
            begun = monotonic()
            try:
                if request.method not in methods:
                    raise PlayerProblem(405, "MethodNotAllowed", f"Use {allowed}.", Allow=allowed)
                response: HttpResponse = await view(request, **path)
            except PlayerProblem as problem:
                response = problem.response()
            except service.OUTAGE as error:
                response = _outage(error)
            if creates and request.method == "POST":
                metrics.SESSION_CREATE.labels(str(response.status_code)).observe(monotonic() - begun)
            return cors.allow(request, response, settings.ORIGINS["sessions"], allowed)

        answer.__name__, answer.__doc__ = view.__name__, view.__doc__
        return limited(MAX_BODY)(csrf_exempt(answer))

    return decorate


@serves("GET", "POST", creates=True)
async def sessions(request: HttpRequest) -> HttpResponse:
    """Create a session, or list one's own."""
    customer = await _customer(request)
    if request.method == "GET":
        listed = await service.live_sessions(_key(customer))
        return JsonResponse({"sessions": [_active_session(listing) for listing in listed]})
    wanted = _parsed(wire.parse_create, request)
    return await _create(request, customer, wanted, None)


@serves("POST", creates=True)
async def takeover(request: HttpRequest) -> HttpResponse:
    """Create a session in place of others."""
    customer = await _customer(request)
    wanted, victims = _parsed(wire.parse_takeover, request)
    return await _create(request, customer, wanted, victims)


@serves("DELETE")
async def session(request: HttpRequest, id: str) -> HttpResponse:
    """End a session of one's own."""
    customer = await _customer(request)
    if not await service.end_own(_key(customer), _uuid(id)):
        raise _no_such_session()
    return HttpResponse(status=204)


@serves("POST")
async def heartbeat(request: HttpRequest, id: str) -> HttpResponse:
    """Keep a session alive from a device without WebSockets."""
    customer = await _customer(request)
    session = _uuid(id)
    deadline = await service.heartbeat(_key(customer), session)
    if deadline is None:
        raise _no_such_session()
    seconds = settings.SESSIONS_HEARTBEAT_SECONDS
    body = {"sessionId": str(session), "expiresAt": deadline.isoformat(), "heartbeatInterval": seconds}
    return JsonResponse(body)


# --- who asks, and what for -------------------------------------------------------------------------------


async def _customer(request: HttpRequest) -> Customer:
    """The customer of the bearer token. Raises PlayerProblem and OUTAGE."""
    token = bearer_token(request.headers.get("Authorization", ""))
    if not token:
        raise _unauthorized()
    try:
        customer = await authenticate(token)
    except TokenRefused as refused:
        metrics.REFUSED.labels("sessions", Refusal.FORBIDDEN).inc()
        logger.info("sessions: a customer token was refused: %s", refused.claim)
        raise _unauthorized() from None
    except KeysUnavailable as error:
        metrics.REFUSED.labels("sessions", Refusal.UNAVAILABLE).inc()
        logger.info("sessions: a customer token could not be checked: %s", error)
        raise PlayerProblem(
            503, "Unavailable", "Keys cannot be fetched.", Retry_After=str(RETRY_SECONDS)
        ) from None
    await current_worker().start()
    if await revocations.is_revoked(customer):
        raise _revoked()
    return customer


def _parsed(parse: Callable[[bytes], Any], request: HttpRequest) -> Any:
    """The request in the body. Raises PlayerProblem."""
    length = request.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > MAX_BODY:
        raise _too_large()
    try:
        body = request.body
    except RawPostDataException:
        raise PlayerProblem(400, "InvalidRequest", "The body cannot be read.") from None
    if len(body) > MAX_BODY:
        raise _too_large()
    try:
        return parse(body)
    except wire.BadRequest as error:
        raise PlayerProblem(400, "InvalidRequest", str(error)) from None


async def _create(
    request: HttpRequest, customer: Customer, wanted: wire.Wanted, victims: tuple[str, ...] | None
) -> HttpResponse:
    key = _key(customer)
    await _check_rate(request, customer)
    if not customer.tracking_enabled:
        return JsonResponse(wire.DISABLED)
    ids = None if victims is None else [_uuid(victim) for victim in victims]
    await _check_hooks(request, customer, wanted, victims)
    outcome = await service.create(key, wanted, ids)
    if isinstance(outcome, Granted):
        if await revocations.is_revoked(customer):  # since it was asked, and the session was made after that
            await service.kill([(key, outcome.session.id)], revocations.BY, REVOKED)
            raise _revoked()
        return JsonResponse(_granted(request, customer, outcome.session))
    if isinstance(outcome, LimitReached):
        return JsonResponse(_limit_exceeded(outcome), status=409)
    if isinstance(outcome, NoSuchSession):
        raise _no_such_session()
    if isinstance(outcome, TakeoverOff):
        raise PlayerProblem(403, "TakeoverDisabled", "Takeover is not offered here.")
    raise _unauthorized()  # its publisher was deleted after the token was checked


async def _check_rate(request: HttpRequest, customer: Customer) -> None:
    """Count a create or takeover. Raises PlayerProblem beyond a rate limit."""
    rate_limits = current_worker().rate_limits
    if (limits := rate_limits.of("sessions").create) is None:
        return
    peer = Peer(request.META.get("REMOTE_ADDR") or "")
    who = Passing(peer, NOBODY, f"sessions {customer.publisher}/{customer.id}")
    if (excess := await rate_limits.excess(limits, who)) is not None:
        metrics.REFUSED.labels("sessions", Refusal.RATE).inc()
        seconds = str(retry_after(excess))
        raise PlayerProblem(429, "RateLimited", "Too many requests.", Retry_After=seconds)


async def _check_hooks(
    request: HttpRequest, customer: Customer, wanted: wire.Wanted, victims: tuple[str, ...] | None
) -> None:
    """Ask the backend about a create or takeover. Raises PlayerProblem for one that it refuses."""
    hooks = current_worker().hooks
    if (several := hooks.of("sessions").request) is None:
        return
    type = CREATE if victims is None else TAKEOVER
    message = wire.members_of(wanted, victims)
    if not several.concerns(type):
        return
    identity = f"{customer.publisher}/{customer.id}"
    verdict = await hooks.ask(several, asked_over_http(request, "sessions", identity, type, message))
    if verdict.allow and not verdict.is_error:
        return
    metrics.REFUSED.labels("sessions", refusal_of(verdict)).inc()
    if verdict.unavailable:
        raise PlayerProblem(503, "Unavailable", "Try again soon.", Retry_After=str(RETRY_SECONDS))
    reason = verdict.error if isinstance(verdict.error, str) else verdict.reason
    raise PlayerProblem(403, "Refused", reason or "The session is refused.")


def _key(customer: Customer) -> AccountKey:
    return AccountKey(customer.publisher, customer.id)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _no_such_session() from None


# --- answers ----------------------------------------------------------------------------------------------


def _granted(request: HttpRequest, customer: Customer, listing: Listing) -> dict[str, Any]:
    base = f"{'wss' if request.is_secure() else 'ws'}://{request.get_host()}"
    token = session_tokens.SessionToken(
        listing.id, customer.publisher, customer.id, issued_at=customer.issued_at
    )
    url = session_tokens.url(base, token)
    return wire.granted(url, str(listing.id), listing.stream.name)


def _limit_exceeded(denied: LimitReached) -> dict[str, Any]:
    message = f"{denied.reason[0].upper()}{denied.reason[1:]} reached."
    active = [_active_session(listing) for listing in denied.counted]
    return wire.limit_exceeded(message, denied.take_over, denied.maximum, active)


def _active_session(listing: Listing) -> dict[str, Any]:
    return wire.active_session(str(listing.id), listing.stream, listing.started_at)


def _unauthorized() -> PlayerProblem:
    return PlayerProblem(
        401, "Unauthorized", "The customer token is missing or not valid.", WWW_Authenticate="Bearer"
    )


def _revoked() -> PlayerProblem:
    metrics.REFUSED.labels("sessions", Refusal.REVOKED).inc()
    return PlayerProblem(403, "Revoked", "The customer is revoked.")


def _no_such_session() -> PlayerProblem:
    return PlayerProblem(404, "SessionNotFound", "No such session.")


def _too_large() -> PlayerProblem:
    return PlayerProblem(413, "TooLarge", f"A body has at most {MAX_BODY} bytes.")


def _outage(error: Exception) -> HttpResponse:
    """The database or the channel layer is out: SESSIONS_FAIL_MODE says whether players play."""
    logger.warning("sessions: a backing service is out: %s", type(error).__name__)
    metrics.REFUSED.labels("sessions", Refusal.UNAVAILABLE).inc()
    if settings.SESSIONS_FAIL_MODE == "open":
        return JsonResponse(wire.DISABLED)
    return PlayerProblem(503, "Unavailable", "Try again soon.", Retry_After=str(RETRY_SECONDS)).response()
