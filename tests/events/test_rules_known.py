"""Rules of channels when the database or the layer fails: every socket is held to them, or sent away."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Collection, Iterable
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth import get_user_model
from django.db import OperationalError

from broker_project.asgi import application
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.codes import INTERNAL, UNAVAILABLE, Close
from routing_app.core.database import query
from routing_app.core.publishing import publish
from routing_app.core.worker import Worker, current_worker, drop_worker
from routing_app.events import access, credentials
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


def arriving(token: str = "") -> WebsocketCommunicator:
    """A socket that asks for the channel; without a token it is the public's."""
    return WebsocketCommunicator(application, f"/websocket?channel_id={ROOM}&auth={token}")


def log_in() -> str:
    """A token of somebody new. Uses the ORM."""
    issued = credentials.issue(get_user_model().objects.create_user(secrets.token_hex(6)))
    assert issued is not None
    return issued[0]


async def reached() -> int | None:
    """The number of sockets on the channel."""
    return (await publish([f"channel:{ROOM}"], "for members")).delivered_to


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
    assert await reached() == 0
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


@pytest.mark.parametrize(
    ("error", "close"), [(OperationalError("out"), UNAVAILABLE), (RuntimeError("a bug"), INTERNAL)]
)
async def test_a_socket_that_cannot_obey_is_told_and_keeps_no_other_from_it_then_or_later(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, settings: Any, error: Exception, close: Close
):
    settings.EVENTS_RECHECK_SECONDS = 0.01
    user, public = arriving(await query(log_in)), arriving()
    for socket in (user, public):
        await socket.connect(60)
        assert (await frame(socket))["type"] == "connection"
    assert await reached() == 2
    for socket in (user, public):
        assert await frame(socket) == "for members"

    def fail(jtis: Collection[str]) -> set[str]:
        if jtis:
            raise error
        return set()

    with monkeypatch.context() as patched:
        patched.setattr(credentials, "void_among", fail)
        await close_room()
        assert (await user.receive_output(60))["code"] == close.portable_code
        assert await frame(public) == DENIED
    await user.disconnect(timeout=60)

    await query(Channel.objects.update, who_may_listen="everyone")
    await until(reached)
    await public.disconnect(timeout=60)
