"""The server: Daphne's, with the WebSockets, the drain and the heartbeat of this package."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import daphne.server
from daphne.server import twisted_loop
from twisted.internet import reactor as _reactor
from twisted.internet.endpoints import serverFromString
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    STDLibLogObserver,
    globalLogBeginner,
)
from twisted.protocols.tls import TLSMemoryBIOFactory

from switchboard_server import PIPELINE, STATE
from switchboard_server.drain import Drain
from switchboard_server.heartbeat import Heartbeat
from switchboard_server.http import HttpFactory, Upgrade, WebRequest
from switchboard_server.lifespan import ApplicationLifespan
from switchboard_server.proxy import Proxies
from switchboard_server.websocket import SocketLimits, WebSocket

logger = logging.getLogger("daphne.server")
reactor: Any = _reactor  # a module that Twisted replaces by an object

BACKLOG: Final = 4096
"""Connections that the kernel queues. With Twisted's 50, of 500 clients that arrive at once 98 a second get
through."""


@dataclass(frozen=True)
class ServerOptions:
    """Options of our server beyond Daphne's."""

    drain_seconds: float = 10.0
    """Longest time a stopping server waits for its applications."""
    proxies: Proxies = field(default_factory=Proxies)
    max_body_bytes: int = 16 * 2**20
    """Largest body of an HTTP request; Twisted would spool any size to disk."""
    tls: Any = None
    """Twisted's context factory: every endpoint speaks TLS."""
    ready: Callable[[], object] = lambda: None
    """Called once when the server listens."""
    parent_fd: int = -1
    """Descriptor whose end of file means that the supervisor has gone."""


class Server(daphne.server.Server):
    """Daphne's server with a drain, bounded memory and frame writers. Daphne's options keep their meaning."""

    def __init__(self, *args: Any, options: ServerOptions = ServerOptions(), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.options = options
        self.proxies = options.proxies
        # Daphne's options name the forwarded headers; `proxy.py` says from which addresses they are read.
        self.address_header: str = kwargs.get("proxy_forwarded_address_header") or "X-Forwarded-For"
        self.port_header: str = kwargs.get("proxy_forwarded_port_header") or ""
        self.proxy_forwarded_address_header = None
        self.limits = SocketLimits(
            connect_timeout=self.websocket_connect_timeout,
            lifetime=self.websocket_timeout,
            ping_interval=self.ping_interval,
            ping_timeout=self.ping_timeout,
            max_frame=self.websocket_max_frame_size,
            max_message=self.websocket_max_message_size,
        )
        self.max_body_bytes = options.max_body_bytes
        self.now = 0.0
        """Loop time of the last heartbeat: a clock that costs nothing to read."""
        self.sockets: set[WebSocket] = set()
        self.state = {"draining": False}
        self.refusing = False
        """True while new sockets are answered with 503."""
        self.connections: dict[WebRequest, dict[str, Any]] = {}
        self.ports: list[Any] = []
        self._leaving: dict[asyncio.Task[None], float] = {}
        self._drain: Drain | None = None
        self.lifespan = ApplicationLifespan(self.application)
        self.exit_code = 0

    @property
    def draining(self) -> bool:
        """True once the server is stopping."""
        return self.state["draining"]

    # --- running --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until a signal; returns when the drain is done."""
        asyncio.set_event_loop(twisted_loop)
        twisted_loop.set_debug(self.verbosity >= 3)
        # Twisted measures timeouts by the wall clock: a step of an hour would end every idle HTTP connection.
        reactor.seconds = twisted_loop.time
        _log_twisted(LogLevel.debug if self.verbosity > 1 else LogLevel.error)
        self.http_factory = HttpFactory(self)
        for description in self.endpoints:
            logger.info("Configuring endpoint %s", description)
            self._listen(str(description)).addCallbacks(self.listen_success, self.listen_error)
        if self.abort_start:
            return
        self._start_clocks()
        self._startup = twisted_loop.create_task(self.lifespan.startup())
        if self.ready_callable:
            self.ready_callable()
        self.options.ready()
        # The modules stay loaded: a later collection need not walk their 120,000 objects (60 ms).
        gc.collect()
        gc.freeze()
        reactor.run(installSignalHandlers=False)

    def _listen(self, description: str) -> Any:
        factory: Any = self.http_factory
        if self.options.tls is not None:
            factory = TLSMemoryBIOFactory(self.options.tls, False, factory)
        if description.startswith("fd:fileno="):
            return daphne.server.defer.maybeDeferred(self._adopt, int(description.split("=")[1]), factory)
        if description.startswith(("tcp:", "ssl:")) and "backlog=" not in description:
            description += f":backlog={BACKLOG}"
        return serverFromString(reactor, description).listen(factory)

    @staticmethod
    def _adopt(fileno: int, factory: Any) -> Any:
        """Listen on a socket that is bound already; Daphne's own `fd:` knows IPv4 only."""
        listening = socket.socket(fileno=fileno)
        listening.setblocking(False)
        try:
            return reactor.adoptStreamPort(fileno, listening.family, factory)
        finally:
            listening.detach()

    def listen_success(self, port: Any) -> None:
        """Twisted: an endpoint listens."""
        self.ports.append(port)
        super().listen_success(port)

    def _start_clocks(self) -> None:
        Heartbeat(self.sockets, self.limits, self._tick).start(twisted_loop)
        if self.http_timeout:
            reactor.callLater(2, self.timeout_checker)
        if self.signal_handlers:
            for number in (signal.SIGTERM, signal.SIGINT):
                twisted_loop.add_signal_handler(number, self.drain)
            twisted_loop.add_signal_handler(signal.SIGHUP, self.drain, True)
        if self.options.parent_fd >= 0:
            twisted_loop.add_reader(self.options.parent_fd, self._parent_gone)

    def _tick(self, now: float) -> None:
        self.now = now
        self._cancel_overdue(now)

    def time(self) -> float:
        """The loop's time, exactly."""
        return float(twisted_loop.time())

    # --- stopping -------------------------------------------------------------------------------------

    def drain(self, retire: bool = False) -> None:
        """Stop in order; the second time at once. `retire`: others serve on, so accept nothing more."""
        if self._drain is None:
            self._drain = Drain(self, self.options.drain_seconds, retire)
            self._drain.start()
        else:
            self._drain.end_now()

    def begin_draining(self, refuse: bool) -> None:
        """Tell the applications; with `refuse` answer new sockets with 503."""
        self.state["draining"] = True
        self.refusing = refuse

    def stop_listening(self) -> None:
        """Accept no more connections."""
        ports, self.ports = self.ports, []
        for port in ports:
            port.stopListening()

    def _parent_gone(self) -> None:
        twisted_loop.remove_reader(self.options.parent_fd)
        if self._drain is None:
            self.drain()

    # --- WebSockets -----------------------------------------------------------------------------------

    def open_websocket(self, upgrade: Upgrade) -> None:
        """Start an application for a handshake request."""
        websocket = WebSocket(self, upgrade)
        upgrade.bind(websocket)
        self.sockets.add(websocket)
        application = self.application(upgrade.scope(websocket), websocket.receive, websocket.send)
        websocket.task = twisted_loop.create_task(application)
        websocket.task.add_done_callback(partial(self._websocket_done, websocket))

    def _websocket_done(self, websocket: WebSocket, task: asyncio.Task[None]) -> None:
        self._leaving.pop(task, None)
        websocket.application_ended(_error_of(task))

    def lost(self, websocket: WebSocket) -> None:
        """The client of this socket has gone; its application has some time to end."""
        self.sockets.discard(websocket)
        if websocket.task is not None:
            self._leaving[websocket.task] = twisted_loop.time() + self.application_close_timeout

    def _cancel_overdue(self, now: float) -> None:
        """End applications that go on too long after their client went."""
        for task in [task for task, deadline in self._leaving.items() if now >= deadline]:
            if not self.draining:
                del self._leaving[task]
                logger.warning("an application took too long to shut down and was cancelled")
                task.cancel()

    def applications(self) -> list[asyncio.Task[None]]:
        """Every application that has not ended."""
        tasks = [websocket.task for websocket in self.sockets if websocket.task is not None]
        http = [details.get("application_instance") for details in self.connections.values()]
        return tasks + list(self._leaving) + [task for task in http if task is not None]

    # --- HTTP -----------------------------------------------------------------------------------------

    def create_application(
        self, protocol: WebRequest, scope: dict[str, Any]
    ) -> asyncio.Queue[dict[str, Any]]:
        """Start an application for a request; Daphne puts its body into the queue."""
        queue: asyncio.Queue[dict[str, Any]] = protocol.awaited or asyncio.Queue()
        extensions = {STATE: self.state, PIPELINE: protocol.on_another}
        scope |= {"asgi": {"version": "3.0"}, "extensions": extensions}
        task = twisted_loop.create_task(
            self.application(scope=scope, receive=queue.get, send=partial(self.handle_reply, protocol))
        )
        self.connections[protocol]["application_instance"] = task
        task.add_done_callback(partial(self._http_done, protocol))
        return queue

    def protocol_disconnected(self, protocol: WebRequest) -> None:
        """The request is answered, or its client has gone."""
        details = self.connections.get(protocol)
        if details is None:
            return
        if task := details.get("application_instance"):
            details["disconnected"] = self.now
            self._leaving[task] = twisted_loop.time() + self.application_close_timeout
        else:
            del self.connections[protocol]

    def _http_done(self, protocol: WebRequest, task: asyncio.Task[None]) -> None:
        self._leaving.pop(task, None)
        details = self.connections.get(protocol, {})
        error = _error_of(task)
        details.pop("application_instance", None)
        if "disconnected" in details:
            del self.connections[protocol]
        elif error is not None:
            protocol.handle_exception(error)

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Daphne: something for the access log. A query string may hold a token and is left out."""
        if self.action_logger:
            path = str(details["path"]).partition("?")[0]
            self.action_logger(protocol, action, {**details, "path": path})


def _log_twisted(least: Any) -> None:
    """Send Twisted's own log to ours; Daphne drops even its errors."""
    # Twisted's interfaces are zope's, which mypy cannot follow.
    predicate: Any = LogLevelFilterPredicate(least)
    everything: Any = STDLibLogObserver("twisted")
    observer: Any = FilteringLogObserver(everything, [predicate])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    """The exception of an application, logged."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        logger.error("Exception inside application: %s", error, exc_info=error)
    return error
