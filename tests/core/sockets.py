"""A protocol for tests of the base socket, a client of it, and the traces that a connection leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from channels.testing import WebsocketCommunicator

from routing_app.core.codes import Refusal
from routing_app.core.consumer import Consumer
from routing_app.core.database import query
from routing_app.core.models import ConnectionRecord
from routing_app.core.protocol import Protocol
from routing_app.core.worker import Worker
from tests.core.harness import PLAIN, Counted

LINE = "probe"


class Probe(Consumer):
    """A protocol that does what a test tells it to."""

    act: ClassVar[dict[str, Callable[[Probe], Awaitable[Any]]]]
    """Actions in `admit`, `opened`, `received`: by that name."""
    log: ClassVar[list[str]]
    seen: ClassVar[list[Probe]]

    async def admit(self) -> str | None:
        self.seen.append(self)
        return await self._act("admit")

    async def opened(self) -> None:
        self.connection.identity = "somebody"
        await self.worker.hub.subscribe(self.connection, "token:a", "token:b")
        self.worker.presence.arrive(self.connection)
        await self._act("opened")

    async def received(self, text: str) -> None:
        self.log.append(text)
        self.connection.send(f"echo {text}")
        await self._act("received")

    def closed(self) -> None:
        self.log.append("closed")
        if "closed" in self.act:
            raise RuntimeError("in closed")

    async def _act(self, name: str) -> Any:
        return await self.act[name](self) if name in self.act else None


class ProbeProtocol(Protocol):
    """Traces of it in the worker: nothing."""

    name = LINE
    encoder = PLAIN


class Client(WebsocketCommunicator):
    """A client of a fresh `Probe`."""

    def __init__(
        self, probe: type[Probe], headers: list[tuple[bytes, bytes]] | None = None, **scope: Any
    ) -> None:
        super().__init__(probe.as_asgi(protocol=LINE), "/probe", headers)
        self.scope.update({"client": ["10.0.0.1", 4000], **scope})  # type: ignore[typeddict-item]

    async def opens(self) -> None:
        accepted, _ = await self.connect(60)
        assert accepted

    async def refused(self) -> int:
        """The code that a refused handshake was refused with."""
        accepted, code = await self.connect(60)
        assert not accepted
        assert isinstance(code, int)
        await self.ends()
        return code

    async def ends(self) -> None:
        """Wait until the consumer has ended by itself (`wait` would cancel it in the end)."""
        done, _ = await asyncio.wait([self.future], timeout=60)
        assert done
        await self.future

    async def disconnect(self, code: int = 1000, timeout: float = 60) -> None:
        """Leave, and wait for the consumer."""
        await super().disconnect(code, timeout)

    async def close_code(self) -> int:
        """Read until the close."""
        while (message := await self.receive_output(60))["type"] != "websocket.close":
            pass
        code: int = message["code"]
        return code


class Ledger:
    """All that a connection leaves traces in, as it was before."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._open = Counted("switchboard_connections", protocol=LINE)
        self.opened = Counted("switchboard_opened_total", protocol=LINE)

    async def is_clean(self) -> bool:
        """True when nothing is left of any connection: hub, layer, seats, gauges, presence after commit."""
        worker = self._worker
        await worker.writes.settled()
        rows = await query(ConnectionRecord.objects.count)
        assert (worker.hub.connections(), worker.hub.addresses()) == ([], [])
        assert (worker.seats.taken, self._open.grown, rows) == (0, 0, 0)
        return True

    async def has(self, count: int) -> bool:
        await self._worker.writes.settled()
        rows = await query(ConnectionRecord.objects.present().count)
        assert (len(self._worker.hub.connections()), self._worker.seats.taken) == (count, count)
        assert (self._open.grown, rows) == (count, count)
        return True


def refusals(reason: Refusal) -> Counted:
    return Counted("switchboard_refused_total", protocol=LINE, reason=reason)


async def fail(probe: Probe) -> None:
    raise RuntimeError("in a handler")


def raises(error: Exception) -> Callable[[Probe], Awaitable[None]]:
    async def act(probe: Probe) -> None:
        raise error

    return act
