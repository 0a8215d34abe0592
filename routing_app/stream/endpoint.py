"""The ASGI application at `/api/stream`: one event stream for each request, beside Django's request cycle."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import HttpResponse, JsonResponse
from rest_framework.exceptions import APIException, MethodNotAllowed, ValidationError

from routing_app.core import metrics
from routing_app.core.access import admission
from routing_app.core.access.admission import Refused
from routing_app.core.access.grants import NOBODY, Grant
from routing_app.core.access.handshake import RETRY_AFTER_SECONDS
from routing_app.core.address import AddressError
from routing_app.core.audit import calls
from routing_app.core.codes import EXPIRED, NORMAL, SLOW, UNAVAILABLE, Advice, Close, Refusal
from routing_app.core.delivery.connection import NOTHING_GIVEN, Connection, Given, new_id
from routing_app.core.hooks import arriving as asking
from routing_app.core.hooks.arriving import HookRefused
from routing_app.core.hooks.question import Question
from routing_app.core.log_context import CONNECTION
from routing_app.core.rate_limits import arriving
from routing_app.core.rate_limits.limit import Passing
from routing_app.core.rest.answers import refuse
from routing_app.core.rest.fast import FastRequest, send_answer
from routing_app.core.streams.replay import Attachment
from routing_app.core.worker import current_worker
from routing_app.stream import access, request, wire
from routing_app.stream.progress import Progress
from routing_app.stream.request import Wanted
from routing_app.stream.writer import (
    AsgiStreamWriter,
    CommentFrame,
    DirectStreamWriter,
    EventEncoder,
    GapFrame,
)
from switchboard_server import RESPONSE

logger = logging.getLogger(__name__)

NAME: Final = "stream"
PATH: Final = "/api/stream"
TYPE: Final = "text/event-stream"
END_SECONDS: Final = 10.0
"""Longest time in which the end of a stream has to be with the kernel."""
HEADERS: Final = {
    "Content-Type": TYPE,
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx passes it on as it comes
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",  # a client that comes back finds another worker than one that drains
}
ENCODER: Final = EventEncoder()
GAP: Final = GapFrame("")
COMMENT: Final = CommentFrame("")

Scope = Mapping[str, Any]


async def serve(scope: Scope, receive: Any, send: Any) -> None:
    """Serve one ASGI HTTP scope."""
    await EventStream(scope, receive, send).serve()


class EventStream:
    """One reader, from its request to one clean-up for every way out."""

    connection: Connection
    _writer: AsgiStreamWriter | DirectStreamWriter
    _patience: asyncio.Timeout

    def __init__(self, scope: Scope, receive: Any, send: Any) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._request = FastRequest(dict(scope), b"")
        self._worker = current_worker()
        self._peer = admission.peer_of(scope)
        self._timer: asyncio.TimerHandle | None = None
        self._accepted = self._has_left = False
        self._begun = monotonic()
        self._cors: Mapping[str, str] = {}

    async def serve(self) -> None:
        """Admit the reader, or refuse it."""
        try:
            admission.check_origin(NAME, self._scope)
            self._cors = request.readable_by(self._request)
            if request.is_preflight(self._request):
                await self._answer(HttpResponse(status=204, headers=request.preflight()))
                return
            if self._request.method != request.METHOD:
                raise MethodNotAllowed(self._request.method or "")
            await admission.enter(self._worker, self._peer)
        except Exception as error:
            await self._refuse(error)
            return
        try:
            await self._admit_and_serve()
        finally:
            self._worker.seats.leave(self._peer.host)

    async def _admit_and_serve(self) -> None:
        limits, rate_limits = self._worker.rate_limits.of(NAME), self._worker.rate_limits
        try:
            if limits.arrive is not None:
                await arriving.check(rate_limits, Passing(self._peer, NOBODY), limits.arrive)
            grant = await access.grant_of(self._request)
            wanted = request.wanted(self._request)
            access.check_covered(grant, wanted.addresses)
            await arriving.check(rate_limits, Passing(self._peer, grant), limits.connect, limits.subscribe)
            id = new_id(self._worker.id)
            CONNECTION.set(id)
            given = await self._ask(id, grant, wanted)
            if given.addresses:
                wanted = request.wanted(self._request, given.addresses)
        except Exception as error:
            await self._refuse(error)
            return
        self.connection = self._connect(id, grant, wanted, given)
        try:
            async with asyncio.timeout(None) as self._patience:
                if await self._open(wanted):
                    while (await self._receive())["type"] != "http.disconnect":
                        pass
        except TimeoutError:
            # The end was sent, or could not be in time.
            if not self._patience.expired():
                raise
        finally:  # also when the server cancels the task
            self._clean_up()

    # --- the beginning ------------------------------------------------------------------------------------

    async def _ask(self, id: str, grant: Grant, wanted: Wanted) -> Given:
        """Ask hooks about the reader, then about each of its addresses. Raises HookRefused."""
        hooks, hooked, given = self._worker.hooks, self._worker.hooks.of(NAME), NOTHING_GIVEN
        if hooked.connect is None and hooked.subscribe is None:
            return given

        def question(address: str | None) -> Question:
            identity = given.identity or grant.identity
            return Question(NAME, id, str(self._peer), identity, self._scope, address)

        if hooked.connect is not None:
            given = await asking.ask(hooks, hooked.connect, question(None))
        if hooked.subscribe is not None:
            verdict = await hooks.ask_each(hooked.subscribe, wanted.addresses, question)
            if not verdict.allow:
                raise HookRefused(verdict)
        return given

    def _connect(self, id: str, grant: Grant, wanted: Wanted, given: Given) -> Connection:
        worker = self._worker
        response = (self._scope.get("extensions") or {}).get(RESPONSE)
        self._writer = (
            AsgiStreamWriter(self._send, self._ended)
            if response is None
            else DirectStreamWriter(response, self._ended)
        )
        connection = Connection(id, NAME, self._writer, worker.flusher, ENCODER, self._peer, worker.limits)
        connection.identity = given.identity or grant.identity
        connection.handshake, connection.given = self._scope, given
        connection.own_identity = given.counted_as(NAME)
        # Corked until the answer has begun: messages that arrive before wait, and follow it.
        connection.outbox.cork()
        connection.on_close = self._closing
        connection.on_gap = self._tell_gap
        admission.arrived(worker, connection)
        worker.grants.hold(connection, grant, lambda: self._check_again(wanted))
        return connection

    def _check_again(self, wanted: Wanted) -> None:
        """End a stream whose key or user may not read all of it any more."""
        own = [one for one in wanted.addresses if one not in self.connection.given.addresses]
        if not all(map(self.connection.grant.may_subscribe, own)):
            self.connection.close(EXPIRED)

    async def _open(self, wanted: Wanted) -> bool:
        """Begin the answer; False when there is nobody to serve."""
        try:
            admission.check_draining(self._worker)  # the drain did not know this connection yet
            await admission.check_connection(self._worker, self.connection)
            attachment = await self._attach(wanted)
        except Exception as error:
            self.connection.mark_closed()
            await self._refuse(error)
            return False
        try:
            if (close := self.connection.close_sent) is not None:
                self.connection.mark_closed()
                await self._refuse(Refused(close))
                return False
            return await self._begin(wanted, attachment)
        finally:
            attachment.start()

    async def _attach(self, wanted: Wanted) -> Attachment:
        last = dict.fromkeys(wanted.addresses, wanted.last) if wanted.last else {}
        replays = self._worker.streams.replays
        try:
            return await replays.attach(self.connection, wanted.addresses, wanted.since, last)
        except AddressError as error:
            raise ValidationError({"address": [str(error)]}) from None

    async def _begin(self, wanted: Wanted, attachment: Attachment) -> bool:
        headers = [(name.lower(), value) for name, value in {**HEADERS, **self._cors}.items()]
        raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
        try:
            await self._send({"type": "http.response.start", "status": 200, "headers": raw})
        except OSError:  # the client did not wait
            return False
        self._accepted = True
        metrics.OPENED.labels(NAME).inc()
        metrics.HANDSHAKE.labels(NAME).observe(monotonic() - self._begun)
        self._worker.presence.arrive(self.connection)
        places = attachment.places
        missed = [one for one in wanted.since if not (one in places and places[one].recovered)]
        progress = Progress({one: attachment.begins.get(one) for one in wanted.addresses})
        self._writer.open(progress, missed)
        self.connection.outbox.uncork()
        if (close := self.connection.close_sent) is not None:  # while the answer began
            self._writer.close(close)
        self._comment_later()
        return True

    def _comment_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(settings.STREAM_COMMENT_SECONDS, self._comment)

    def _comment(self) -> None:
        if self.connection.outbox.push(COMMENT):
            self._comment_later()

    def _tell_gap(self) -> None:
        self.connection.outbox.push(GAP)

    # --- the end ------------------------------------------------------------------------------------------

    def _closing(self, close: Close) -> None:
        self._end_within(END_SECONDS)

    def _ended(self) -> None:
        """The end has been sent: the client need not say that it has seen it."""
        self._end_within(0)

    def _end_within(self, seconds: float) -> None:
        if not (self._has_left or self._patience.expired()):
            self._patience.reschedule(asyncio.get_running_loop().time() + seconds)

    def _clean_up(self) -> None:
        self._has_left = True
        if self._timer is not None:
            self._timer.cancel()
        close = self.connection.close_sent or NORMAL
        if close is SLOW and isinstance(self._writer, AsgiStreamWriter):
            self._writer.lose()
        admission.departed(self._worker, self.connection, close, self._accepted)

    # --- refusals -----------------------------------------------------------------------------------------

    async def _refuse(self, error: Exception) -> None:
        """Answer in the words of the API."""
        if isinstance(error, APIException):
            await self._answer(refuse(error, request.METHOD, NAME))
        elif isinstance(error, SuspiciousOperation | UnicodeDecodeError):
            self._count(Refusal.MALFORMED)
            await self._answer(JsonResponse({"detail": "The request cannot be read."}, status=400))
        else:
            refused = admission.refused_by(NAME, error)
            self._count(refused.reason)
            if isinstance(refused, HookRefused) and refused.words:
                await self._answer(JsonResponse({"detail": refused.words}, status=403))
                return
            await self._send_away(refused.close, arriving.seconds_of(refused))

    async def _send_away(self, close: Close, seconds: int) -> None:
        if close.advice is Advice.STAY_AWAY:
            await self._answer(JsonResponse({"detail": _sentence(close)}, status=403))
            return
        seconds = seconds or RETRY_AFTER_SECONDS[close.advice]
        if request.is_returning(self._request):
            headers = {name: value for name, value in HEADERS.items() if name != "Content-Type"}
            await self._answer(HttpResponse(wire.farewell(seconds), content_type=TYPE, headers=headers))
            return
        headers = {"Retry-After": str(seconds)}
        await self._answer(JsonResponse({"detail": _sentence(close)}, status=close.status, headers=headers))

    def _count(self, reason: Refusal) -> None:
        metrics.REFUSED.labels(NAME, reason).inc()

    async def _answer(self, response: HttpResponse) -> None:
        for name, value in self._cors.items():
            response[name] = value
        response.headers.setdefault("Cache-Control", "no-store")
        calls.about(self._request, PATH)
        if calls.is_recorded(self._request, None, response.status_code):
            await calls.finish_on_loop(self._request, None, response.status_code)
        await send_answer(response, self._send)


def _sentence(close: Close) -> str:
    reason = "a backing service is down, try again later" if close is UNAVAILABLE else close.reason
    return f"{reason[:1].upper()}{reason[1:]}."
