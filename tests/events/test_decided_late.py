"""Rights to send that change while the backend decides on an event: its client is told what was not sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from routing_app.core.access import keys
from routing_app.core.address import Address, make
from routing_app.core.database import query
from routing_app.core.hooks import publishing
from routing_app.core.hooks.publishing import Decision, Part
from routing_app.core.hooks.question import Verdict
from routing_app.core.hooks.table import HookSet
from routing_app.core.models import ApiKey
from routing_app.core.worker import Worker
from routing_app.events.access import ChannelRule
from tests.core.harness import Counted
from tests.events.in_process import SECONDS, connected, frame

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]

NEVER = make("channel", "never")

Decide = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture
async def while_deciding(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Decide:
    """Have a backend allow all but NEVER, and something happen before its answers are there."""
    await worker.start()

    def arrange(meanwhile: Callable[[], Awaitable[None]]) -> None:
        async def decide(
            hooks: Any, several: Any, addresses: list[Address], message: Any, about: Any
        ) -> Decision:
            await meanwhile()
            allowed = tuple(address for address in addresses if address != NEVER)
            refused = {NEVER: Verdict(allow=False, reason="Not now")} if NEVER in addresses else {}
            return Decision([Part(allowed, message)], refused)

        monkeypatch.setattr(publishing, "decide", decide)

    monkeypatch.setattr(worker.hooks.of("events"), "publish", HookSet("publish", []))
    return arrange


def denied(channel: str) -> dict[str, str]:
    return {"type": "channel", "error": f"You don't have access on target channel {channel}!"}


def to(*channels: str) -> dict[str, Any]:
    return {"type": "channel", "channel_ids": channels, "data": {"x": 1}}


async def test_an_event_that_is_forbidden_by_then_is_refused_and_counted_once(
    worker: Worker, while_deciding: Decide
):
    socket, _ = await connected("tea")
    counted = Counted("switchboard_refused_total", protocol="events", reason="forbidden")

    async def close_coffee() -> None:
        rule = ChannelRule("nobody", "everyone", frozenset())
        worker.protocols["events"].rules.use({"coffee": rule})

    while_deciding(close_coffee)
    await socket.send_json_to(to("tea", "coffee"))

    assert await frame(socket) == denied("coffee")
    assert counted.grown == 1
    await socket.disconnect(timeout=SECONDS)


async def test_targets_that_a_key_has_lost_by_then_are_named_and_counted_and_the_others_reached(
    worker: Worker, while_deciding: Decide, settings: Any
):
    settings.ACCESS = {**settings.ACCESS, "events": "token"}
    key, plain = await query(keys.issue, "shop", addresses=["channel:tea", "channel:coffee", "channel:never"])
    socket, _ = await connected("tea", plain)
    counted = Counted("switchboard_refused_total", protocol="events", reason="forbidden")
    by_hook = Counted("switchboard_refused_total", protocol="events", reason="hook")

    async def narrow() -> None:
        await query(ApiKey.objects.filter(pk=key.pk).update, addresses=["channel:tea"])
        await worker.grants.recheck()

    while_deciding(narrow)
    await socket.send_json_to(to("water", "coffee", "tea", "coffee", "never"))

    assert await frame(socket) == {"x": 1}
    assert await frame(socket) == {"type": "channel", "error": "Not now"}
    assert (counted.grown, by_hook.grown) == (3, 1), "water at once, and coffee twice"

    await socket.send_json_to(to("tea"))
    assert await frame(socket) == {"x": 1}
    await socket.disconnect(timeout=SECONDS)


async def test_a_key_that_has_lost_all_targets_by_then_is_told_the_first(
    worker: Worker, while_deciding: Decide, settings: Any
):
    settings.ACCESS = {**settings.ACCESS, "events": "token"}
    key, plain = await query(keys.issue, "shop")
    socket, _ = await connected("tea", plain)
    counted = Counted("switchboard_refused_total", protocol="events", reason="forbidden")

    async def narrow() -> None:
        await query(ApiKey.objects.filter(pk=key.pk).update, addresses=["channel:tea"])
        await worker.grants.recheck()

    while_deciding(narrow)
    await socket.send_json_to(to("coffee", "milk"))

    assert await frame(socket) == denied("coffee")
    assert counted.grown == 2
    await socket.disconnect(timeout=SECONDS)
