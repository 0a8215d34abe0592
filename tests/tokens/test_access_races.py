"""Revoking while a client is between the check of its token and its subscription; and the watch behind it."""

from __future__ import annotations

from asyncio import gather
from collections.abc import AsyncIterator
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator

from broker_project.asgi import application
from routing_app.core.database import query
from routing_app.core.delivery.hub import Hub
from routing_app.core.worker import Worker, current_worker, drop_worker
from routing_app.tokens import access, service
from routing_app.tokens.models import RegisteredToken, Source

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def only_registered_tokens(settings: Any) -> None:
    settings.TOKENS_ALLOW_UNREGISTERED = False


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = current_worker()
    yield worker
    await worker.stop()
    drop_worker()


async def register(token: str) -> None:
    await query(service.register, token, Source.API)


def revoke_before_subscribing(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    """Revoke the token after it was checked, and before the hub knows the client by it."""
    subscribe = Hub.subscribe

    async def late(hub: Hub, connection: Any, *addresses: str) -> None:
        if f"token:{token}" in addresses:
            rows = RegisteredToken.objects.filter(token=token)
            await query(rows.update, enabled=False, disabled_by=Source.API)
            await hub.close(f"token:{token}")
        await subscribe(hub, connection, *addresses)

    monkeypatch.setattr(Hub, "subscribe", late)


async def test_handshake_is_refused(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    await register("abc1")
    revoke_before_subscribing(monkeypatch, "abc1")
    socket = WebsocketCommunicator(application, "/ws?RegisterToken=abc1")

    accepted, _ = await socket.connect(60)

    assert not accepted
    assert worker.hub.connections() == []
    assert worker.hub.addresses() == []


async def test_in_band_change_is_closed(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    await register("abc1")
    await register("abc2")
    revoke_before_subscribing(monkeypatch, "abc2")
    socket = WebsocketCommunicator(application, "/ws?RegisterToken=abc1")
    await socket.connect(60)

    await socket.send_to(text_data="RegisterToken:abc2")

    assert (await socket.receive_output(60))["code"] == 4403
    await socket.disconnect(timeout=60)


async def test_watch_closes_connections_that_no_message_reached(worker: Worker) -> None:
    await register("abc1")
    await register("abc2")
    sockets = [WebsocketCommunicator(application, f"/ws?RegisterToken=abc{number}") for number in (1, 2)]
    for socket in sockets:
        await socket.connect(60)
    await query(RegisteredToken.objects.filter(token="abc1").delete)

    assert await access.close_revoked(worker) == 1

    assert (await sockets[0].receive_output(60))["code"] == 4403
    await sockets[1].send_to(text_data="Echo:open")
    assert await sockets[1].receive_from(60) == "open"
    for socket in sockets:
        await socket.disconnect(timeout=60)


async def test_many_questions_are_few_queries(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    await register("abc1")
    asked: list[list[str]] = []
    answer = access._enabled_among

    def counted(tokens: list[str]) -> set[str]:
        asked.append(tokens)
        return answer(tokens)

    monkeypatch.setattr(access, "_enabled_among", counted)
    lookup = access.lookup_of(worker)

    answers = await gather(*(lookup.enabled(f"abc{number % 3}") for number in range(1000)))

    assert answers == [number % 3 == 1 for number in range(1000)]
    assert len(asked) == 1
