"""Rules of channels when the database or the layer fails: every socket is held to them, or sent away."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest
from django.db import OperationalError

from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.codes import INTERNAL, UNAVAILABLE, Close
from routing_app.core.database import query
from routing_app.core.publishing import publish
from routing_app.core.worker import Worker
from routing_app.events import access, credentials
from routing_app.events.models import Channel
from tests.events.in_process import SECONDS, close_code, connected, frame, new_user, socket_on, token_of
from tests.services.waiting import until

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]

ROOM = "boardroom"
DENIED = {"type": "channel", "error": f"You don't have access on target channel {ROOM}!"}


async def close_room() -> None:
    """Leave the channel to its members; no message tells of it."""
    await query(Channel.objects.bulk_create, [Channel(channel_id=ROOM, who_may_listen="members")])


async def reached() -> int | None:
    """The number of sockets on the channel."""
    return (await publish([f"channel:{ROOM}"], "for members")).delivered_to


def out() -> None:
    raise OperationalError("out")


async def test_while_the_rules_are_not_known_a_newcomer_is_sent_away_and_then_held_to_them(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    await close_room()
    with monkeypatch.context() as patched:
        patched.setattr(access, "_read", out)
        await worker.start()
        accepted, _ = await socket_on(ROOM).connect(SECONDS)
        assert not accepted

    socket, _ = await connected(ROOM)

    assert await frame(socket) == DENIED
    assert await reached() == 0
    await socket.disconnect(timeout=SECONDS)


async def test_rules_that_are_known_stay_while_the_database_is_out(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    await close_room()
    await worker.start()
    monkeypatch.setattr(access, "_read", out)
    await worker.protocols["events"].rules.read()

    socket, _ = await connected(ROOM)

    assert await frame(socket) == DENIED
    await socket.disconnect(timeout=SECONDS)


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
    socket, _ = await connected(ROOM)

    await close_room()
    assert await frame(socket) == DENIED
    is_out = False
    await until(lambda: "back" in asked)
    await socket.disconnect(timeout=SECONDS)


@pytest.mark.parametrize(
    ("error", "close"), [(OperationalError("out"), UNAVAILABLE), (RuntimeError("a bug"), INTERNAL)]
)
async def test_a_socket_that_cannot_obey_is_told_and_keeps_no_other_from_it_then_or_later(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, settings: Any, error: Exception, close: Close
):
    settings.EVENTS_RECHECK_SECONDS = 0.01
    user, _ = await connected(ROOM, await query(lambda: token_of(new_user())))
    public, _ = await connected(ROOM)
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
        assert await close_code(user) == close.portable_code
        assert await frame(public) == DENIED
    await user.disconnect(timeout=SECONDS)

    await query(Channel.objects.update, who_may_listen="everyone")
    await until(reached)
    await public.disconnect(timeout=SECONDS)
