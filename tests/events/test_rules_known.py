"""Rules of channels when the database or the layer fails: nobody is served as if there were no rules."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.db import OperationalError

from broker_project.asgi import application
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.database import query
from routing_app.core.publishing import publish
from routing_app.core.worker import Worker, current_worker, drop_worker
from routing_app.events import access
from routing_app.events.models import Channel
from tests.services.waiting import until

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]

ROOM = "boardroom"
DENIED = {"type": "channel", "error": f"You don't have access on target channel {ROOM}!"}


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    one = current_worker()
    yield one
    await one.stop()
    drop_worker()


async def close_room() -> None:
    """Leave the channel to its members; no message tells of it."""
    await query(Channel.objects.bulk_create, [Channel(channel_id=ROOM, who_may_listen="members")])


def arriving() -> WebsocketCommunicator:
    """A socket of the public that asks for the channel."""
    return WebsocketCommunicator(application, f"/websocket?channel_id={ROOM}")


async def frame(socket: WebsocketCommunicator) -> Any:
    return json.loads(await socket.receive_from(60))


def out() -> None:
    raise OperationalError("out")


async def test_while_the_rules_are_not_known_a_newcomer_is_sent_away_and_then_held_to_them(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    await close_room()
    with monkeypatch.context() as patched:
        patched.setattr(access, "_read", out)
        await worker.start()
        accepted, _ = await arriving().connect(60)
        assert not accepted

    socket = arriving()
    accepted, _ = await socket.connect(60)

    assert accepted
    assert (await frame(socket))["type"] == "connection"
    assert await frame(socket) == DENIED
    assert (await publish([f"channel:{ROOM}"], "for members")).delivered_to == 0
    await socket.disconnect(timeout=60)


async def test_rules_that_are_known_stay_while_the_database_is_out(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    await close_room()
    await worker.start()
    monkeypatch.setattr(access, "_read", out)
    await worker.protocols["events"].rules.read()

    socket = arriving()
    await socket.connect(60)

    assert (await frame(socket))["type"] == "connection"
    assert await frame(socket) == DENIED
    await socket.disconnect(timeout=60)


async def test_a_layer_that_is_out_at_the_start_keeps_no_rule_from_being_known_and_is_asked_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, settings: Any
):
    settings.EVENTS_RECHECK_SECONDS = 0.01
    want = worker.relay.want
    asked: list[str] = []
    is_out = True

    async def failing(addresses: Iterable[str]) -> None:
        if access.ADDRESS in addresses:
            asked.append("out" if is_out else "back")
            if is_out:
                raise LayerUnavailable("cannot subscribe")
        await want(addresses)

    monkeypatch.setattr(worker.relay, "want", failing)
    socket = arriving()
    await socket.connect(60)
    assert (await frame(socket))["type"] == "connection"

    await close_room()
    assert await frame(socket) == DENIED
    is_out = False
    await until(lambda: "back" in asked)
    await socket.disconnect(timeout=60)
