"""A client of another protocol with the members of a `Connection`, as far as its protocol can answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from routing_app.core.askable import Askable, ClientGone, TooManyAsked
from routing_app.core.codes import Advice, Close
from routing_app.core.json import dumps
from routing_app.core.worker import Worker
from routing_app.requests import wire
from routing_app.requests.errors import ConnectionClosed, TooManyPending
from routing_app.requests.pending import Request


class ForeignConnection:
    """Asks by what its protocol has for a request: a Socket.IO client by an event with an ack."""

    def __init__(self, worker: Worker, client: Askable) -> None:
        self._worker = worker
        self._client = client

    def request(self, message: Mapping[str, Any], *, timeout: float | None = None) -> Request:
        """See Connection; there are no partials."""
        dumps(message)
        request = Request(timeout)
        task = self._worker.spawn(self._ask(request, dict(message), timeout))
        request.on_end(lambda: _cancel(task))
        return request

    async def send(
        self, message: Mapping[str, Any], *, timeout: float | None = None, volatile: bool = False
    ) -> None:
        """See Connection; returns when the message is with the server."""
        dumps(message)
        if volatile and not self._client.idle:
            return
        try:
            self._client.send(dict(message))
        except ClientGone as gone:
            raise ConnectionClosed(gone.close.code, gone.close.reason) from None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """See Connection."""
        wire.check_close(code, reason)
        self._client.close(Close(code, "application", reason, Advice.STAY_AWAY))

    async def _ask(self, request: Request, message: dict[str, Any], timeout: float | None) -> None:
        try:
            request.reply(await self._client.request(message, timeout))
        except ClientGone as gone:
            request.fail(ConnectionClosed(gone.close.code, gone.close.reason))
        except TooManyAsked as error:
            request.fail(TooManyPending(str(error)))
        except Exception as error:
            request.fail(error)


def _cancel(task: asyncio.Task[None]) -> None:
    if task is not asyncio.current_task():
        task.cancel()


def find(worker: Worker, id: str) -> ForeignConnection | None:
    """The connection of that id in this process, in any other protocol that can be asked."""
    for protocol in worker.protocols.values():
        if (client := protocol.askable(id)) is not None:
            return ForeignConnection(worker, client)
    return None
