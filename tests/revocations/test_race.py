"""A thousand clients connect while the revocation of what they carry commits: none of them stays."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator

from routing_app.core.access.grants import Grant
from routing_app.core.codes import REVOKED
from routing_app.core.consumer import Consumer
from routing_app.core.database import query
from routing_app.core.protocol import Protocol, register, unregister
from routing_app.core.revocations import service
from routing_app.core.worker import Worker, current_worker, drop_worker
from tests.core.harness import PLAIN
from tests.services.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

CLIENTS = 1000
LATE = 10
"""Clients that come once the revocation has committed, when all of the others may be there."""
NAME = "raced"
SUBJECT, HOST = "alice", "192.0.2.1"


class Raced(Consumer):
    """Takes its time before and after it is known by its grant."""

    async def admit(self) -> str | None:
        await asyncio.sleep(self.scope["pauses"][0])
        return None

    async def opened(self) -> None:
        await asyncio.sleep(self.scope["pauses"][1])
        self.connection.grant = Grant(subject=self.scope["subject"])
        await asyncio.sleep(self.scope["pauses"][2])


class RacedProtocol(Protocol):
    name = NAME
    encoder = PLAIN


@pytest.fixture
async def worker(settings: Any) -> AsyncIterator[Worker]:
    settings.ORIGINS = {**settings.ORIGINS, NAME: ["*"]}
    settings.MAX_CONNECTIONS_PER_PEER = 0
    register(RacedProtocol)
    one = current_worker()
    await one.start()
    yield one
    await one.stop()
    drop_worker()
    unregister(RacedProtocol)


@dataclass
class Outcome:
    refused: bool
    close: int | None = None


async def connect(after: float, pauses: tuple[float, ...], subject: str = SUBJECT) -> Outcome:
    """One client, from its handshake to its end; it stays until it is closed."""
    await asyncio.sleep(after)
    client = WebsocketCommunicator(Raced.as_asgi(protocol=NAME), "/raced")
    client.scope.update({"client": [HOST, 4000], "pauses": pauses, "subject": subject})  # type: ignore[typeddict-item]
    accepted, code = await client.connect(60)
    if not accepted:
        assert code == REVOKED.code
        return Outcome(refused=True)
    message = await client.receive_output(60)
    await client.disconnect()
    return Outcome(refused=False, close=message.get("code"))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "fields", [{"subject": SUBJECT}, {"network": f"{HOST}/32"}], ids=["subject", "network"]
)
async def test_none_of_a_thousand_stays(worker: Worker, fields: dict[str, str], seed: int):
    chance = random.Random(seed)
    known = sorted(chance.random() for _ in range(CLIENTS))
    pauses = [tuple(chance.choice((0.0, 0.0, 0.001, 0.05)) for _ in range(3)) for _ in known]
    clients = [asyncio.ensure_future(connect(*one)) for one in zip(known, pauses, strict=True)]
    # In the middle of the arrivals, however busy the machine is.
    await until(lambda: len(worker.hub.connections()) > CLIENTS // 4)

    await query(service.make, **fields)
    late = await asyncio.gather(*(connect(0.0, (0.0, 0.0, 0.0)) for _ in range(LATE)))
    outcomes = await asyncio.gather(*clients)

    assert [one.refused for one in late] == [True] * LATE
    assert {one.close for one in outcomes if not one.refused} == {REVOKED.code}
    assert worker.hub.connections() == []


async def test_a_close_that_comes_while_the_accept_goes_out_is_sent(worker: Worker):
    """The accept of some servers waits for the socket; nothing may be forgotten between it and the close."""
    let_go = asyncio.Event()
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "websocket.accept":
            await let_go.wait()

    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    received.put_nowait({"type": "websocket.connect"})
    scope: dict[str, Any] = {
        "type": "websocket",
        "path": "/raced",
        "headers": [],
        "query_string": b"",
        "client": [HOST, 4000],
        "pauses": (0.0, 0.0, 0.0),
        "subject": SUBJECT,
    }
    serving = asyncio.ensure_future(Raced(NAME)(scope, received.get, send))
    await until(lambda: sent)
    await query(service.make, subject=SUBJECT)
    [connection] = worker.hub.connections()
    await until(lambda: connection.close_sent is not None)
    let_go.set()
    await until(lambda: len(sent) > 1)

    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert sent[1]["code"] == REVOKED.code
    received.put_nowait({"type": "websocket.disconnect", "code": REVOKED.code})
    await serving
