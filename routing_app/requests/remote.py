"""Any connection that can be asked, from any process: `connection(id).request(...)` in a view or a shell."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from routing_app.core.address import worker_of
from routing_app.core.cluster.calls import CallRefused, Incoming, WorkerGone
from routing_app.core.json import dumps
from routing_app.core.synchronous import from_sync
from routing_app.core.worker import Worker, current_worker
from routing_app.requests import foreign, wire
from routing_app.requests.connection import Connection
from routing_app.requests.errors import ConnectionClosed, RequestError, TooManyPending
from routing_app.requests.foreign import ForeignConnection
from routing_app.requests.pending import Request
from routing_app.requests.wire import Answer

ASK: Final = "requests.ask"
"""Verb of a call to the connection's worker: `[connection id, kind, message, timeout]`; the kind is request,
send, volatile or close."""
NOBODY: Final = (1006, "no such connection")


class RemoteConnection:
    """A connection by its id, wherever it is: the same members as a `Connection`, and `…_sync` of each."""

    def __init__(self, id: str) -> None:
        self.id = id

    def request(self, message: Mapping[str, Any], *, timeout: float | None = None) -> Request:
        """Send a request; await or iterate what is returned. Raises TypeError or ValueError at once."""
        if (here := self._here()) is not None:
            return here.request(message, timeout=timeout)
        return _elsewhere().ask("request", self.id, message, timeout)

    async def send(
        self, message: Mapping[str, Any], *, timeout: float | None = None, volatile: bool = False
    ) -> None:
        """Send a message; as `Connection.send`."""
        if (here := self._here()) is not None:
            await here.send(message, timeout=timeout, volatile=volatile)
        else:
            await _elsewhere().ask("volatile" if volatile else "send", self.id, message, timeout)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection. Raises ValueError for a code or reason that may not be sent,
        ConnectionClosed when there is no such connection.
        """
        wire.check_close(code, reason)
        if (here := self._here()) is not None:
            await here.close(code, reason)
        else:
            await _elsewhere().ask("close", self.id, {"code": code, "reason": reason}, None)

    def request_sync(
        self, message: Mapping[str, Any], *, timeout: float | None = 30.0
    ) -> tuple[Answer, list[Answer]]:
        """The reply and the partials before it, for synchronous code."""
        return _request_sync(self, message, timeout)

    def send_sync(
        self, message: Mapping[str, Any], *, timeout: float | None = 30.0, volatile: bool = False
    ) -> None:
        """`send` for synchronous code."""
        _send_sync(self, message, timeout, volatile)

    def close_sync(self, code: int = 1000, reason: str = "") -> None:
        """`close` for synchronous code."""
        _close_sync(self, code, reason)

    def _here(self) -> Connection | ForeignConnection | None:
        return _elsewhere().here(self.id)


def _elsewhere() -> RemoteRequests:
    remote: RemoteRequests = current_worker().protocols["requests"].remote
    return remote


def connection(id: str) -> RemoteConnection:
    """The connection with an id, in whatever process it is; whether it is there shows when it is used."""
    return RemoteConnection(id)


async def _request_all(
    to: RemoteConnection, message: Mapping[str, Any], timeout: float | None
) -> tuple[Answer, list[Answer]]:
    request = to.request(message, timeout=timeout)
    partials = [partial async for partial in request]
    return await request, partials


async def _send(
    to: RemoteConnection, message: Mapping[str, Any], timeout: float | None, volatile: bool
) -> None:
    await to.send(message, timeout=timeout, volatile=volatile)


_request_sync = from_sync(_request_all, wait=None)
_send_sync = from_sync(_send, wait=None)
_close_sync = from_sync(RemoteConnection.close)


class RemoteRequests:
    """Requests of one process to connections of others, and requests of others to connections here."""

    def __init__(self, worker: Worker, connections: Mapping[str, Connection]) -> None:
        self._worker = worker
        self._connections = connections
        worker.calls.serve(ASK, self._serve)

    def here(self, id: str) -> Connection | ForeignConnection | None:
        """The connection of that id in this process, of this protocol or of another that can be asked."""
        return self._connections.get(id) or foreign.find(self._worker, id)

    def ask(self, kind: str, id: str, message: Mapping[str, Any], timeout: float | None) -> Request:
        """Ask a connection of another process. Raises TypeError or ValueError."""
        dumps(message)
        request, owner = Request(timeout), worker_of(id)
        if owner in {"", self._worker.id} or not self._worker.relay.reaches_others:
            request.fail(ConnectionClosed(*NOBODY))
            return request
        task = self._worker.spawn(self._ask(request, owner, [id, kind, dict(message), timeout]))
        # A request that times out or is cancelled here cancels the call, and with it the request over there.
        request.on_end(lambda: _cancel(task))
        return request

    async def _ask(self, request: Request, owner: str, question: list[Any]) -> None:
        try:
            request.reply(await self._worker.calls.call(owner, ASK, question, on_partial=request.partial))
        except CallRefused as refused:
            finish(request, *refused.payload)
        except WorkerGone:
            request.fail(ConnectionClosed(1006, "its worker is gone"))
        except Exception as error:
            request.fail(error)

    async def _serve(self, call: Incoming) -> Any:
        id, kind, message, timeout = call.payload
        client = self.here(id)
        try:
            if client is None:
                raise ConnectionClosed(*NOBODY)
            if kind == "request":
                return await _answer(client.request(message, timeout=timeout), call)
            if kind in ("send", "volatile"):
                await client.send(message, timeout=timeout, volatile=kind == "volatile")
            else:
                await client.close(**message)
        except Exception as error:
            raise CallRefused(as_refusal(error)) from None
        return {}


async def _answer(request: Request, call: Incoming) -> Answer:
    """Pass the partials on, and return the reply."""
    try:
        async for partial in request:
            await call.partial(partial)
        return await request
    except BaseException:  # given up while a partial was passed on: the client's answer is for nobody
        request.cancel()
        raise


def _cancel(task: asyncio.Task[None]) -> None:
    """End a call that nobody waits for; the one that has just brought the answer ends by itself."""
    if task is not asyncio.current_task():
        task.cancel()


def as_refusal(error: Exception) -> tuple[str, Any]:
    """An error as kind and content, for another process."""
    match error:
        case RequestError():
            return "error", dict(error.message)
        case ConnectionClosed():
            return "closed", [error.code, error.reason]
        case TimeoutError():
            return "timeout", None
        case TooManyPending():
            return "crowded", str(error)
        case _:
            return "refused", str(error)


def finish(request: Request, kind: str, content: Any) -> None:
    """Fail a request as it failed in another process; the inverse of `as_refusal`."""
    match kind:
        case "error":
            request.fail(RequestError(content))
        case "closed":
            request.fail(ConnectionClosed(*content))
        case "timeout":
            request.fail(TimeoutError("no reply in time"))
        case "crowded":
            request.fail(TooManyPending(content))
        case _:
            request.fail(ValueError(content))
