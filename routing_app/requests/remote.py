"""Any connection of this line, from any process: `connection(id).request(...)` in a view or a shell.

A question goes to `connection:<id>`, its answers come back to `worker:<id>` of the asking process, as
internal events that no client hears.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Final

from routing_app.core import database
from routing_app.core.address import WORKER_ID_LENGTH, make
from routing_app.core.models import Worker as WorkerRow
from routing_app.core.publication import Publication
from routing_app.core.synchronous import from_sync
from routing_app.core.worker import Worker, current_worker
from routing_app.requests import wire
from routing_app.requests.connection import Connection, TooManyPending
from routing_app.requests.pending import Answer, ConnectionClosed, Request, RequestError

logger = logging.getLogger(__name__)

ASK: Final = "requests.ask"
ANSWER: Final = "requests.answer"
LOOK_SECONDS: Final = 5.0
"""How often a process that waits for an answer looks whether the asked worker still lives."""
STRANGER_SECONDS: Final = 1.0
"""The same for a worker that it has not seen alive: an id may be made up, or of long ago."""
NOBODY: Final = (1006, "no such connection")


class RemoteConnection:
    """A connection by its id, wherever it is: the same members as a `Connection`, and `…_sync` of each."""

    def __init__(self, id: str) -> None:
        self.id = id

    def request(self, message: Mapping[str, Any], *, timeout: float | None = None) -> Request:
        """Send a request; await or iterate what is returned. Raises TypeError or ValueError at once."""
        if (here := self._here()) is not None:
            return here.request(message, timeout=timeout)
        return desk_of(current_worker()).ask("request", self.id, message, timeout)

    async def send(self, message: Mapping[str, Any], *, timeout: float | None = None) -> None:
        """Send a message; raises as `Connection.send`."""
        if (here := self._here()) is not None:
            await here.send(message, timeout=timeout)
        else:
            await desk_of(current_worker()).ask("send", self.id, message, timeout)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection. Raises ValueError for a code or reason that may not be sent,
        ConnectionClosed when there is no such connection.
        """
        wire.check_close(code, reason)
        if (here := self._here()) is not None:
            await here.close(code, reason)
        else:
            await desk_of(current_worker()).ask("close", self.id, {"code": code, "reason": reason}, None)

    def request_sync(
        self, message: Mapping[str, Any], *, timeout: float | None = 30.0
    ) -> tuple[Answer, list[Answer]]:
        """The reply and the partials before it, for synchronous code."""
        return _request_sync(self, message, timeout)

    def send_sync(self, message: Mapping[str, Any], *, timeout: float | None = 30.0) -> None:
        """`send` for synchronous code."""
        _send_sync(self, message, timeout)

    def close_sync(self, code: int = 1000, reason: str = "") -> None:
        """`close` for synchronous code."""
        _close_sync(self, code, reason)

    def _here(self) -> Connection | None:
        here: dict[str, Connection] = current_worker().protocols["requests"].connections
        return here.get(self.id)


def connection(id: str) -> RemoteConnection:
    """The connection with an id, in whatever process it is; whether it is there shows when it is used."""
    return RemoteConnection(id)


async def _request_all(
    to: RemoteConnection, message: Mapping[str, Any], timeout: float | None
) -> tuple[Answer, list[Answer]]:
    request = to.request(message, timeout=timeout)
    partials = [partial async for partial in request]
    return await request, partials


async def _send(to: RemoteConnection, message: Mapping[str, Any], timeout: float | None) -> None:
    await to.send(message, timeout=timeout)


_request_sync = from_sync(_request_all, wait=None)
_send_sync = from_sync(_send, wait=None)
_close_sync = from_sync(RemoteConnection.close)


class Desk:
    """Questions of one process to connections of others, and questions of others to connections here."""

    def __init__(self, worker: Worker, connections: Mapping[str, Connection]) -> None:
        self._worker = worker
        self._connections = connections
        self._numbers = count(1)
        self._asked: dict[int, tuple[str, Request]] = {}
        self._serving: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._seen: set[str] = set()
        """Workers that were alive at the last look."""
        self._stranger = asyncio.Event()
        worker.hub.on(ASK, self._take_question)
        worker.hub.on(ANSWER, self._take_answer)

    # --- asking ------------------------------------------------------------------------------------------

    def ask(self, kind: str, id: str, message: Mapping[str, Any], timeout: float | None) -> Request:
        """Ask a connection of another process. Raises TypeError or ValueError."""
        wire.dumps(message)
        request = Request(timeout)
        nowhere = len(id) <= WORKER_ID_LENGTH or id.startswith(self._worker.id)
        if nowhere or not self._worker.relay.reaches_others:
            request.fail(ConnectionClosed(*NOBODY))
            return request
        number = next(self._numbers)
        self._asked[number] = id, request
        request.on_end(lambda: self._forget(number))
        self._worker.spawn(self._send_question(number, kind, dict(message), timeout))
        if id[:WORKER_ID_LENGTH] not in self._seen:
            self._stranger.set()
        if self._watch is None:
            self._watch = self._worker.spawn(self._look_after_workers())
        return request

    async def _send_question(self, number: int, kind: str, message: Any, timeout: float | None) -> None:
        id, request = self._asked[number]
        try:
            await self._worker.relay.want([make("worker", self._worker.id)])
            await self._publish(make("connection", id), ASK, [number, kind, message, timeout])
        except Exception as error:
            request.fail(error)

    def _forget(self, number: int) -> None:
        """Tell the other process, unless the answer came from there."""
        entry = self._asked.pop(number, None)
        if entry is not None:
            question = [number, "cancel", None, None]
            self._worker.spawn(self._publish(make("connection", entry[0]), ASK, question))

    def _take_answer(self, publication: Publication) -> int:
        if publication.addresses != (make("worker", self._worker.id),):
            return 0
        _, number, kind, content = publication.message
        entry = self._asked.get(number)
        if entry is None:
            return 0
        if kind == "partial":
            entry[1].partial(content)
            return 1
        del self._asked[number]
        finish(entry[1], kind, content)
        return 1

    async def _look_after_workers(self) -> None:
        """Fail questions to workers whose lease has ended: nobody is left to answer."""
        try:
            while self._asked:
                await self._until_next_look()
                workers = {id[:WORKER_ID_LENGTH] for id, _ in self._asked.values()}
                self._seen = await database.query(_alive_among, workers)
                self._fail_those_gone(workers - self._seen)
        except Exception as error:
            logger.warning("requests: workers cannot be looked after: %s", type(error).__name__)
        finally:
            self._watch = None

    async def _until_next_look(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._stranger.wait()
                await asyncio.sleep(STRANGER_SECONDS)
        self._stranger.clear()

    def _fail_those_gone(self, workers: set[str]) -> None:
        for id, request in list(self._asked.values()):
            if id[:WORKER_ID_LENGTH] in workers:
                request.fail(ConnectionClosed(1006, "its worker is gone"))

    # --- being asked -------------------------------------------------------------------------------------

    def _take_question(self, publication: Publication) -> int:
        id = publication.addresses[0].partition(":")[2]
        if not id.startswith(self._worker.id):
            return 0
        asker, number, kind, message, timeout = publication.message
        if kind == "cancel":
            if (task := self._serving.get((asker, number))) is not None:
                task.cancel()
            return 1
        task = self._worker.spawn(self._serve(asker, number, id, kind, message, timeout))
        self._serving[asker, number] = task
        task.add_done_callback(lambda _: self._serving.pop((asker, number), None))
        return 1

    async def _serve(
        self, asker: str, number: int, id: str, kind: str, message: Any, timeout: float | None
    ) -> None:
        async def tell(kind: str, content: Any = None) -> None:
            await self._publish(make("worker", asker), ANSWER, [number, kind, content])

        client = self._connections.get(id)
        try:
            if client is None:
                raise ConnectionClosed(*NOBODY)
            if kind == "request":
                request = client.request(message, timeout=timeout)
                async for partial in request:
                    await tell("partial", partial)
                await tell("reply", await request)
                return
            if kind == "send":
                await client.send(message, timeout=timeout)
            else:
                await client.close(**message)
            await tell("reply", {})
        except Exception as error:
            await tell(*as_answer(error))

    async def _publish(self, address: str, event: str, content: list[Any]) -> None:
        await self._worker.hub.publish(Publication((address,), [self._worker.id, *content], event))


def as_answer(error: Exception) -> tuple[str, Any]:
    """An error as kind and content of an answer to another process."""
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
    """End a request by the answer of another process; the inverse of `as_answer`."""
    match kind:
        case "reply":
            request.reply(content)
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


def _alive_among(workers: set[str]) -> set[str]:
    return set(WorkerRow.objects.alive().filter(pk__in=workers).values_list("pk", flat=True))


def desk_of(worker: Worker) -> Desk:
    """The desk of a worker."""
    desk: Desk = worker.protocols["requests"].desk
    return desk
