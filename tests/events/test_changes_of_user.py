"""A socket becomes somebody else while what it stood on before ends or changes: the newer one counts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.utils import timezone

from routing_app.core.access import keys
from routing_app.core.codes import EXPIRED, REVOKED
from routing_app.core.database import query
from routing_app.core.delivery.hub import Hub
from routing_app.core.hooks.question import Verdict
from routing_app.core.hooks.table import HookSet
from routing_app.core.models import ApiKey
from routing_app.core.publishing import publish
from routing_app.core.revocations import service as revocations
from routing_app.core.worker import Worker
from routing_app.events.consumer import EventConsumer
from routing_app.events.identities import ANYBODY, Identity
from tests.events.in_process import SECONDS, close_code, connected, frame, new_user, token_of
from tests.services.waiting import until

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]


async def change_user(socket: WebsocketCommunicator, token: str) -> None:
    await socket.send_json_to({"type": "change_user", "token": token})


async def test_a_login_that_was_being_taken_when_the_former_one_ended_stays(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, settings: Any
):
    settings.EVENTS_EXPIRED_SOCKETS = "public"
    user = await query(new_user)
    socket, hello = await connected("tea", await query(token_of, user))
    asked: list[Identity] = []
    begun: list[asyncio.Task[Any]] = []
    spawn = worker.spawn

    def noted(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        begun.append(spawn(coroutine))
        return begun[-1]

    async def while_asked(self: EventConsumer, identity: Identity) -> None:
        """A backend decides on the channel of the new login, and the old one ends meanwhile."""
        asked.append(identity)
        if len(asked) == 1:
            self.token_ended(self.visitor.jti, EXPIRED)

    monkeypatch.setattr(EventConsumer, "_channel_refusal", while_asked)
    monkeypatch.setattr(worker, "spawn", noted)
    await change_user(socket, await query(token_of, user))
    assert (await frame(socket))["data"] == hello
    await asyncio.gather(*begun)

    assert len(asked) == 2, "the end of the former login was seen to"
    assert (await publish([f"user:{hello['root_id']}"], "still here")).delivered_to == 1
    assert await frame(socket) == "still here"
    await socket.send_json_to({"type": "connection"})
    assert (await frame(socket))["data"] == hello
    await socket.disconnect(timeout=SECONDS)


@pytest.mark.parametrize("change", ["narrowed", "revoked"])
async def test_a_key_that_changes_while_its_holder_logs_in_does_not_undo_the_login(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, change: str
):
    key, plain = await query(keys.issue, "shop")
    changes = {"addresses": ["channel:other"]} if change == "narrowed" else {"revoked_at": timezone.now()}
    user = await query(new_user)
    token = await query(token_of, user)
    root = await query(lambda: user.root.reference)
    socket, hello = await connected("tea", plain)
    assert hello["root_id"] != root
    subscribe = Hub.subscribe

    async def while_subscribing(hub: Hub, connection: Any, *addresses: str, **options: Any) -> None:
        if f"user:{root}" in addresses:
            await query(ApiKey.objects.filter(pk=key.pk).update, **changes)
            await worker.grants.recheck()
        await subscribe(hub, connection, *addresses, **options)

    monkeypatch.setattr(Hub, "subscribe", while_subscribing)
    await change_user(socket, token)

    assert (await frame(socket))["data"] == {**hello, "root_id": root}
    await socket.send_json_to({"type": "connection"})
    assert (await frame(socket))["data"] == {**hello, "root_id": root}
    await socket.disconnect(timeout=SECONDS)


async def test_a_key_that_is_revoked_while_its_holder_changes_to_it_ends_the_socket(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
):
    key, plain = await query(keys.issue, "shop")
    socket, _ = await connected("tea")

    async def while_asked(self: EventConsumer, identity: Identity) -> None:
        await query(revocations.make, key=key.prefix)

    monkeypatch.setattr(EventConsumer, "_channel_refusal", while_asked)
    await change_user(socket, plain)

    message = await socket.receive_output(SECONDS)
    if message["type"] == "websocket.send":  # it was told before the database had confirmed it
        assert await close_code(socket) == REVOKED.portable_code
    else:
        assert message["code"] == REVOKED.portable_code
    await socket.disconnect(timeout=SECONDS)


async def test_a_verdict_on_a_login_that_ends_while_it_is_given_does_not_let_the_public_in(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, settings: Any
):
    settings.EVENTS_EXPIRED_SOCKETS = "public"
    token = await query(lambda: token_of(new_user()))
    await worker.start()
    refused = Verdict(allow=False)

    async def decide(self: EventConsumer, identity: Identity) -> Verdict | None:
        """A backend lets users in, and the login ends before its answer has come."""
        if identity is ANYBODY:
            return refused
        self.token_ended(self.visitor.jti, EXPIRED)
        await until(lambda: self._kept_off is refused)
        return None

    monkeypatch.setattr(worker.hooks.of("events"), "subscribe", HookSet("subscribe", []))
    monkeypatch.setattr(EventConsumer, "_channel_refusal", decide)
    socket, _ = await connected("tea", token)

    assert (await publish(["channel:tea"], "for users")).delivered_to == 0
    await socket.disconnect(timeout=SECONDS)
