"""A key that comes to cover less while a client of it is about to be known by a token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest
from channels.testing import WebsocketCommunicator

from broker_project.asgi import application
from routing_app.core.access import keys
from routing_app.core.database import query
from routing_app.core.delivery.hub import Hub
from routing_app.core.hooks.table import HookSet
from routing_app.core.models import ApiKey, Scope
from routing_app.core.models.hooks import On
from routing_app.core.worker import Worker, current_worker, drop_worker
from routing_app.tokens import access
from routing_app.tokens.consumer import TokenConsumer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]

A, B = "token:a", "token:b"
SECONDS: Final = 60


@pytest.fixture(autouse=True)
def bounded(settings: Any) -> None:
    settings.ACCESS = {**settings.ACCESS, "tokens": "token"}


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = current_worker()
    yield worker
    await worker.stop()
    drop_worker()


@pytest.fixture
async def key() -> str:
    """It covers both tokens, until `narrow`."""
    _, text = await query(keys.issue, "a key", [Scope.READ], addresses=[A, B])
    return text


async def narrow() -> None:
    """The key covers `a` alone from here on, and its connections know."""
    await query(lambda: ApiKey.objects.update(addresses=[A]))
    await current_worker().grants.recheck()


def narrowed_before(
    monkeypatch: pytest.MonkeyPatch, where: Any, name: str, concerns: Callable[..., bool]
) -> None:
    """Narrow the key before a function is called with arguments that concern the other token."""
    function: Callable[..., Awaitable[Any]] = getattr(where, name)

    async def late(*arguments: Any) -> Any:
        if concerns(*arguments):
            await narrow()
        return await function(*arguments)

    monkeypatch.setattr(where, name, late)


def socket(token: str, key: str) -> WebsocketCommunicator:
    return WebsocketCommunicator(application, f"/ws?RegisterToken={token}&key={key}")


async def test_a_token_that_the_key_covers_no_longer_is_not_taken(
    worker: Worker, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key changed while the new token was looked up: the client keeps its own."""
    narrowed_before(monkeypatch, access, "check", lambda worker, token: token == "b")
    client = socket("a", key)
    assert (await client.connect(SECONDS))[0]

    await client.send_to(text_data="RegisterToken:b")
    await client.send_to(text_data="Echo:read")

    assert await client.receive_from(SECONDS) == "read"
    [connection] = worker.hub.connections()
    assert (connection.identity, set(connection.addresses)) == ("a", {A})
    await client.disconnect(timeout=SECONDS)


async def test_a_client_whose_new_token_the_key_covers_no_longer_is_sent_away(
    worker: Worker, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key changed while the client was being subscribed to the new token."""
    narrowed_before(monkeypatch, Hub, "subscribe", lambda hub, connection, *addresses: B in addresses)
    client = socket("a", key)
    assert (await client.connect(SECONDS))[0]

    await client.send_to(text_data="RegisterToken:b")
    await client.send_to(text_data="Echo:read")

    assert (await client.receive_output(SECONDS)).get("code") == 4006
    await client.disconnect(timeout=SECONDS)


async def test_a_handshake_is_refused_that_the_key_covers_no_longer(
    worker: Worker, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key changed while the backend was asked about the token."""
    worker.hooks.of("tokens").use({On.SUBSCRIBE: HookSet(On.SUBSCRIBE, [])})
    narrowed_before(monkeypatch, TokenConsumer, "_check_hooks", lambda consumer, hooks, token: token == "b")

    accepted, _ = await socket("b", key).connect(SECONDS)

    assert not accepted
    assert worker.hub.connections() == []
