"""The server: connections on asyncio's loop, and an application for each request and socket.

The loop is asyncio's own. On uvloop (0.23.0) an echo costs 5 % less, but a fan-out with 16 messages in flight
and a handshake cost 40 % more.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from switchboard_server import PIPELINE, REQUEST_ID, RESPONSE, STATE, endpoints
from switchboard_server.acceptor import Acceptor
from switchboard_server.access_log import AccessLog
from switchboard_server.drain import Drain, end_now
from switchboard_server.ending import cancel_tasks
from switchboard_server.endpoints import Listening
from switchboard_server.handshake import STOPPING
from switchboard_server.heartbeat import Heartbeat
from switchboard_server.http_connection import HttpConnection
from switchboard_server.http_request import HttpRequest
from switchboard_server.http_response import fixed_headers
from switchboard_server.lifespan import ApplicationLifespan
from switchboard_server.proxy import Proxies
from switchboard_server.scope import Scopes, text
from switchboard_server.upgrade import Upgrade
from switchboard_server.websocket import SocketLimits, WebSocket
from switchboard_server.writer import EXTENSION

logger = logging.getLogger("switchboard.server")

TLS_SHUTDOWN_SECONDS: Final = 30.0
"""How long a client of HTTP has to read the last answer over TLS, and to answer the end of TLS."""
TLS_HANDSHAKE_SECONDS: Final = 30.0
YOUNG_OBJECTS: Final = 10_000
"""New objects after which garbage is looked for, in 1 ms. A connection makes some 60 that stay: by CPython's
700, looking through those of all connections again and again is a seventh of a handshake."""


@dataclass(frozen=True)
class ServerOptions:
    """Options of the server. Times are seconds."""

    endpoints: list[str] = field(default_factory=list)
    """Where to listen, as `endpoints.py` describes it."""
    limits: SocketLimits = field(default_factory=SocketLimits)
    """Of every WebSocket."""
    http_timeout: float = 0.0
    """Longest time until an application has answered a request; 0 for no limit."""
    application_close_timeout: float = 10.0
    """Longest time that an application goes on after its client has gone."""
    max_body_bytes: int = 16 * 2**20
    """Largest body of an HTTP request."""
    root_path: str = ""
    server_name: str = ""
    """Value of the `Server` header; empty for none."""
    access_log: AccessLog | None = None
    proxies: Proxies = field(default_factory=Proxies)
    """Addresses whose forwarded headers are read."""
    address_header: str = "X-Forwarded-For"
    """Header that holds the client's address, when a trusted proxy sends it."""
    port_header: str = ""
    """Header that holds the client's port; empty for none."""
    drain_seconds: float = 10.0
    """Longest time that a stopping server waits for its applications."""
    compression: bool = False
    """Compress messages for the clients that offer permessage-deflate."""
    tls: Any = None
    """An `ssl.SSLContext`: every endpoint speaks TLS."""
    ready: Callable[[], object] = lambda: None
    """Called once when the server listens."""
    parent_fd: int = -1
    """Descriptor whose end of file means that the supervisor has gone."""
    debug: bool = False
    """asyncio's debug mode."""


class Server:
    """One server of one ASGI application, for the life of a process."""

    def __init__(self, application: Any, options: ServerOptions) -> None:
        self.application = application
        self.options = options
        self.limits = options.limits
        self.proxies = options.proxies
        self.max_body_bytes = options.max_body_bytes
        self.compression = options.compression
        self.http_timeout = options.http_timeout
        self.server_name = options.server_name
        self.action_logger = options.access_log
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self.now = 0.0
        """Loop time of the last heartbeat: a clock that costs nothing to read."""
        self.fixed_headers: Mapping[bytes, bytes] = {}
        """`Server` and `Date` as lines, by lower-case name."""
        self.sockets: set[WebSocket] = set()
        self.http_connections: set[HttpConnection] = set()
        self.state = {"draining": False}
        self.refusing = False
        """Whether new sockets are answered with 503."""
        self.lifespan = ApplicationLifespan(application, self._stop_alone)
        self._scopes = Scopes(options.proxies, options.address_header, options.port_header, options.root_path)
        self._listening: list[Listening] = []
        self._servers: list[asyncio.AbstractServer | Acceptor] = []
        self._requests: set[asyncio.Task[None]] = set()
        """Applications of HTTP requests."""
        self._leaving: dict[asyncio.Task[None], float] = {}
        """Applications whose client has gone, and when they are cancelled."""
        self._context = contextvars.copy_context()
        """The context of every application: a request may begin while one before it is being answered."""
        self._drain: Drain | None = None
        self._told_to_end = False
        self._stopped = self.loop.create_future()

    @property
    def draining(self) -> bool:
        """Whether the server is stopping."""
        return self.state["draining"]

    # --- running --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until a signal; returns when everything has been told.

        Raises ValueError or OSError for an endpoint where it cannot listen.
        """
        asyncio.set_event_loop(self.loop)
        self.loop.set_debug(self.options.debug)
        self.loop.run_until_complete(self._run())
        cancel_tasks(self.loop)

    async def _run(self) -> None:
        limits = self.limits
        silence = limits.ping_interval + limits.ping_timeout if limits.ping_interval > 0 else 0.0
        try:
            for description in self.options.endpoints:
                self._listening.append(endpoints.listen(description, silence))
        except (ValueError, OSError):
            self.stop_listening()
            raise
        self._start_clocks()
        for listening in self._listening:
            self._servers.append(await self._serve(listening))
        self._startup = self.loop.create_task(self.lifespan.startup())
        self.options.ready()
        # What the start has loaded stays: later collections need not walk it (120,000 objects, 60 ms).
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        await self._stopped

    async def _serve(self, listening: Listening) -> asyncio.AbstractServer | Acceptor:
        tls = listening.tls or self.options.tls
        connection = partial(HttpConnection, self)
        own = listening.socket
        if tls is None:
            return Acceptor(self.loop, own, connection)
        create = self.loop.create_unix_server if own.family == socket.AF_UNIX else self.loop.create_server
        return await create(
            connection,
            sock=own,
            ssl=tls,
            backlog=endpoints.BACKLOG,
            ssl_handshake_timeout=TLS_HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS,
        )

    def _start_clocks(self) -> None:
        Heartbeat(self.sockets, self.limits, self._tick).start(self.loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self._end)
        self.loop.add_signal_handler(signal.SIGHUP, self.drain, True)
        if self.options.parent_fd >= 0:
            self.loop.add_reader(self.options.parent_fd, self._parent_gone)

    def _tick(self, now: float) -> None:
        self.now = now
        self.fixed_headers = fixed_headers(self.server_name, time.time())
        self._cancel_overdue(now)
        for connection in list(self.http_connections):
            connection.check(now)

    def time(self) -> float:
        """The loop's time, exactly."""
        return self.loop.time()

    # --- stopping -------------------------------------------------------------------------------------

    def drain(self, retire: bool = False) -> None:
        """Stop in order; nothing happens a second time. `retire`: others serve on, so accept nothing more."""
        if self._drain is None:
            self._drain = Drain(self, self.options.drain_seconds, retire)
            self._drain.start()

    def _end(self) -> None:
        """A signal to end: stop in order; the second one: at once.

        One to a server that drains for another reason is the first: who sends it need not know of that.
        """
        if self._told_to_end:
            end_now()
        self._told_to_end = True
        self.drain()

    def _stop_alone(self) -> None:
        """Stop in order while other workers serve on, if there are any."""
        self.drain(retire=self.options.parent_fd >= 0)

    def begin_draining(self, refuse: bool) -> None:
        """Tell the applications; with `refuse` answer new sockets with 503."""
        self.state["draining"] = True
        self.refusing = refuse

    def stop_listening(self) -> None:
        """Accept no more connections."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        listening, self._listening = self._listening, []
        for one in listening:
            one.socket.close()
            one.unlink()

    def stop(self) -> None:
        """Return from `run`."""
        if not self._stopped.done():
            self._stopped.set_result(None)

    def _parent_gone(self) -> None:
        self.loop.remove_reader(self.options.parent_fd)
        self.drain()

    # --- WebSockets -----------------------------------------------------------------------------------

    def open_websocket(self, upgrade: Upgrade) -> None:
        """Start an application for a handshake request."""
        request = upgrade.request
        scope = self._scopes.scope("websocket", request.head, request.peer)
        request.client = scope["client"]
        websocket = WebSocket(self, upgrade)
        upgrade.bind(websocket)
        self.sockets.add(websocket)
        scope["subprotocols"] = upgrade.subprotocols()
        scope["extensions"] = {
            "websocket.http.response": {},
            EXTENSION: websocket.writer,
            REQUEST_ID: request.id,
        }
        application = self.application(scope, websocket.receive, websocket.send)
        websocket.task = self.loop.create_task(application, context=self._context.copy())
        websocket.task.add_done_callback(partial(self._websocket_done, websocket))

    def _websocket_done(self, websocket: WebSocket, task: asyncio.Task[None]) -> None:
        self._leaving.pop(task, None)
        websocket.application_ended(_error_of(task), task.cancelled() and self.draining)

    def lost(self, websocket: WebSocket) -> None:
        """The client of this socket has gone; its application has been told."""
        self.sockets.discard(websocket)
        if websocket.task is not None:
            self._leaving[websocket.task] = self.loop.time() + self.options.application_close_timeout

    def _cancel_overdue(self, now: float) -> None:
        """End applications that go on too long after their client went."""
        for task in [task for task, deadline in self._leaving.items() if now >= deadline]:
            if not self.draining:
                del self._leaving[task]
                logger.warning("an application took too long to shut down and was cancelled")
                task.cancel()

    @property
    def answering(self) -> bool:
        """Whether a request is under way, be it that its body is still coming, or that its answer waits."""
        return any(connection.busy for connection in self.http_connections)

    @property
    def awaiting(self) -> bool:
        """Whether a connection has not sent its first request."""
        return any(connection.fresh for connection in self.http_connections)

    def applications(self) -> list[asyncio.Task[None]]:
        """Every application that has not ended."""
        tasks = {websocket.task for websocket in self.sockets if websocket.task is not None}
        return list(tasks | set(self._leaving) | self._requests)

    # --- HTTP -----------------------------------------------------------------------------------------

    def begin(self, request: HttpRequest) -> None:
        """Start an application for a request."""
        scope = self._scopes.scope("http", request.head, request.peer)
        request.client = scope["client"]
        scope["extensions"] = {
            STATE: self.state,
            PIPELINE: request.on_another,
            RESPONSE: request,
            REQUEST_ID: request.id,
        }
        application = self.application(scope, request.receive, request.send)
        task = self.loop.create_task(application, context=self._context.copy())
        request.task = task
        self._requests.add(task)
        task.add_done_callback(partial(self._http_done, request))

    def answered(self, request: HttpRequest) -> None:
        """The response has ended, or the client has gone."""
        if request.task is not None:
            self._leaving[request.task] = self.now + self.options.application_close_timeout
        if self.action_logger is not None and request.finished:
            head, response = request.head, request.response
            self.log_action(
                "http",
                "complete",
                {
                    "method": head.method,
                    "path": request.path,
                    "status": response.status,
                    "size": response.size,
                    "client": text(request.client),
                },
            )

    def _http_done(self, request: HttpRequest, task: asyncio.Task[None]) -> None:
        self._requests.discard(task)
        self._leaving.pop(task, None)
        request.task = None
        error = _error_of(task)
        if request.finished or request.gone:
            return
        if task.cancelled() and self.draining:
            request.answer(*STOPPING)
            return
        if error is None and not task.cancelled():
            logger.error(
                "the application ended without an answer to %s %s", request.head.method, request.path
            )
        request.answer(500, "Internal Server Error")

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Write a line of the access log."""
        if self.action_logger is not None:
            self.action_logger(protocol, action, details)


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    """The exception of an application, logged."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        logger.error("Exception inside application: %s", error, exc_info=error)
    return error
