"""The ASGI application at `/socket.io/`, for every request and WebSocket of Engine.IO."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings

from routing_app.core import metrics
from routing_app.core.access import admission, credentials
from routing_app.core.access.admission import Refused
from routing_app.core.access.grants import NOBODY
from routing_app.core.access.handshake import accept_and_close, deny, retry_after, send_away
from routing_app.core.address import worker_of
from routing_app.core.codes import MALFORMED, ORIGIN, REVOKED, TOO_BIG, Refusal
from routing_app.core.rate_limits import arriving
from routing_app.core.rate_limits.arriving import OverLimit, seconds_of
from routing_app.core.rate_limits.limit import Passing
from routing_app.core.rest.middleware import BACKING_SERVICES
from routing_app.core.worker import Worker, current_worker
from routing_app.engineio import polling, websocket, wire
from routing_app.engineio.bridge import Bridges
from routing_app.engineio.polling import PayloadTooBig, Polled
from routing_app.engineio.registry import Registry
from routing_app.engineio.remote_sessions import RemoteSession, RemoteSessions
from routing_app.engineio.request import (
    MESSAGES,
    EngineRequest,
    Header,
    cross_origin,
    preflight,
    read_request,
    respond,
)
from routing_app.engineio.session import (
    Application,
    EngineOptions,
    EngineSession,
    Fault,
    RequestRefused,
)
from routing_app.engineio.websocket import PacketSocket

logger = logging.getLogger(__name__)


class EngineState:
    """The endpoint's state in one worker."""

    def __init__(
        self,
        worker: Worker,
        options: EngineOptions,
        application: Callable[[EngineSession], Application],
        protocol: str,
    ) -> None:
        self.registry = Registry(worker, options, application)
        self.remote = RemoteSessions(worker, self.registry, protocol)
        self.bridges = Bridges(self.remote, worker.limits.beside(options.max_payload))


class Endpoint:
    """Serves sessions of one protocol; `application(session)` is what each speaks to."""

    def __init__(
        self,
        protocol: str,
        application: Callable[[EngineSession], Application],
        options: EngineOptions,
    ) -> None:
        self._protocol = protocol
        self._application = application
        self._options = options

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one ASGI scope, `http` or `websocket`."""
        serve = self._serve_http if scope["type"] == "http" else self._serve_websocket
        await serve(scope, receive, send)

    def sessions(self, worker: Worker) -> Registry:
        """The sessions that this process owns."""
        return self._state(worker).registry

    def new_state(self, worker: Worker) -> EngineState:
        """A new state for a worker, which the protocol keeps as `engineio`."""
        return EngineState(worker, self._options, self._application, self._protocol)

    def _state(self, worker: Worker) -> EngineState:
        state: EngineState = worker.protocols[self._protocol].engineio
        return state

    # --- HTTP --------------------------------------------------------------------------------------------

    async def _serve_http(self, scope: Any, receive: Any, send: Any) -> None:
        headers = cross_origin(scope)
        try:
            admission.check_origin(self._protocol, scope)
            if scope["method"] == "OPTIONS":
                await respond(send, 204, b"", headers + preflight(scope))
                return
            await self._poll(read_request(scope, self._options.versions), scope, receive, send, headers)
        except RequestRefused as refused:
            self._count(Refusal.MALFORMED)
            await respond(send, 400, _error(refused.fault), headers, b"application/json")
        except PayloadTooBig:
            self._count(Refusal.TOO_BIG)
            await respond(send, 413, b"", [*headers, (b"connection", b"close")])
        except (Refused, *BACKING_SERVICES) as error:
            close = self._counted(error).close
            if close in (ORIGIN, REVOKED):
                await respond(send, 403, _error(Fault.FORBIDDEN), headers, b"application/json")
            else:
                again = retry_after(close.advice, seconds_of(error))
                await respond(send, close.status, b"", [*headers, again])

    async def _poll(
        self, request: EngineRequest, scope: Any, receive: Any, send: Any, headers: list[Header]
    ) -> None:
        if request.callback:
            self._check_script()
        method = scope["method"]
        if not request.sid:
            if method != "GET":
                raise RequestRefused(Fault.BAD_METHOD)
            opened = await self._open(current_worker(), request, scope)
            await polling.answer_open(opened, request, send, headers)
            return
        session = await self._find(request)
        try:
            if method == "GET":
                waited = metrics.POLL.labels(self._protocol)
                await polling.answer_get(session, request, scope, receive, send, headers, waited)
            elif method == "POST":
                await polling.answer_post(session, request, scope, receive, send, headers, self._options)
            else:
                raise RequestRefused(Fault.BAD_REQUEST)
        # A body that is no payload, or an answer that cannot be written, ends the session: packets are lost,
        # and the order of later ones with them.
        except wire.EngineWireError:
            await session.end(MALFORMED)
            raise RequestRefused(Fault.BAD_REQUEST) from None
        except PayloadTooBig:
            await session.end(TOO_BIG)
            raise

    def _check_script(self) -> None:
        """A browser sends no Origin with a script, so only those may use JSONP that admit every page.

        Raises Refused.
        """
        if "*" not in settings.ORIGINS[self._protocol]:
            logger.info("%s: JSONP refused; it needs %s_ORIGINS=*", self._protocol, self._protocol.upper())
            raise Refused(ORIGIN, Refusal.ORIGIN)

    # --- WebSocket ---------------------------------------------------------------------------------------

    async def _serve_websocket(self, scope: Any, receive: Any, send: Any) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        try:
            admission.check_origin(self._protocol, scope)
            request = read_request(scope, self._options.versions)
            channel = PacketSocket(scope, receive, send, request, self._options.max_payload)
            if request.sid:
                await admission.check_peer(current_worker(), admission.peer_of(scope))
                await self._upgrade(request, channel)
            else:
                session = await self._open(current_worker(), request, scope)
                await _guarded(session, channel)
        except RequestRefused as refused:
            self._count(Refusal.MALFORMED)
            await _deny(scope, send, 400, _error(refused.fault))
        except (Refused, *BACKING_SERVICES) as error:
            close = self._counted(error).close
            if close in (ORIGIN, REVOKED):
                await _deny(scope, send, 403, _error(Fault.FORBIDDEN))
            elif isinstance(error, OverLimit) and error.accepts:
                await accept_and_close(scope, send, close)
            else:
                await send_away(scope, send, close, seconds_of(error))

    async def _upgrade(self, request: EngineRequest, channel: PacketSocket) -> None:
        session = self.sessions(current_worker()).find(request.sid)
        if session is None:
            state = await self._remote_state(request)
            await state.bridges.serve(request.sid, request.version, channel, self._options.upgrade_timeout)
            return
        if session.version != request.version:
            raise RequestRefused(Fault.BAD_REQUEST)
        await channel.accept()
        await websocket.upgrade(session, channel)

    # --- sessions ----------------------------------------------------------------------------------------

    async def _open(self, worker: Worker, request: EngineRequest, scope: Any) -> EngineSession:
        """A new session, with a seat. Raises Refused, LayerUnavailable."""
        peer = admission.peer_of(scope)
        await admission.enter(worker, peer)
        try:
            arrive = worker.rate_limits.of(self._protocol).arrive
            if arrive is not None:
                await arriving.check(worker.rate_limits, Passing(peer, NOBODY), arrive)
            # The application checks it: a packet may bring another, and can be refused for it.
            credential = credentials.of_scope(scope)
            return self.sessions(worker).open(request.version, peer, request.query, credential, scope)
        except BaseException:
            worker.seats.leave(peer.host)
            raise

    async def _find(self, request: EngineRequest) -> Polled:
        """The session of a request, here or at the worker that owns it. Raises RequestRefused."""
        session = self.sessions(current_worker()).find(request.sid)
        if session is None:
            state = await self._remote_state(request)
            return RemoteSession(state.remote, request.sid, request.version)
        if session.version != request.version:
            raise RequestRefused(Fault.BAD_REQUEST)
        return session

    async def _remote_state(self, request: EngineRequest) -> EngineState:
        """The state that reaches a session's owner elsewhere. Raises RequestRefused, LayerUnavailable."""
        worker = current_worker()
        if worker_of(request.sid) in ("", worker.id) or not worker.relay.reaches_others:
            raise RequestRefused(Fault.UNKNOWN_SID)
        await worker.start()
        return self._state(worker)

    def _counted(self, error: Exception) -> Refused:
        refused = admission.refused_by(self._protocol, error)
        self._count(refused.reason)
        return refused

    def _count(self, reason: Refusal) -> None:
        metrics.REFUSED.labels(self._protocol, reason).inc()


async def _guarded(session: EngineSession, channel: PacketSocket) -> None:
    """Accept and serve; a client that went away within the handshake leaves no session."""
    try:
        await channel.accept()
        await websocket.begin(session, channel)
    finally:
        session.close()


def _error(fault: Fault) -> bytes:
    """The body of a refusal, as the original servers write it."""
    return json.dumps({"code": fault, "message": MESSAGES[fault]}, separators=(",", ":")).encode()


async def _deny(scope: Any, send: Any, status: int, body: bytes) -> None:
    """Refuse a WebSocket for good."""
    await deny(scope, send, status, body, [(b"content-type", b"application/json")], 4000 + status)
