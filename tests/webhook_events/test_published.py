"""Published messages: told once by the worker that publishes, to webhooks that name their addresses."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.db import OperationalError

from routing_app.core.database import query
from routing_app.core.delivery.publication import Publication
from routing_app.core.models import AddressRule
from routing_app.core.models.webhooks import Webhook
from routing_app.core.publishing import publish
from routing_app.core.webhooks import published as published_module
from routing_app.core.webhooks.events import EventType
from routing_app.core.worker import Worker, current_worker, drop_worker
from tests.core.harness import lost
from tests.webhook_events.outbox import subscribe, told

pytestmark = pytest.mark.django_db(transaction=True)

CALLER = f"key {secrets.token_hex(8)}"
"""The store of ids may be another test's as well."""
A, B, OTHER = "token:a", "room:bus/b", "token:other"


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    """The worker of this loop, which serves nobody."""
    worker = current_worker()
    yield worker
    await worker.stop()
    drop_worker()


async def hook(worker: Worker, *addresses: str) -> None:
    await query(subscribe, "*", addresses=addresses)
    await worker.webhook_watch.read()


async def messages(worker: Worker) -> list[dict[str, Any]]:
    await worker.published.settled()
    events = await query(told)
    assert {type for type, _ in events} <= {EventType.MESSAGE_PUBLISHED}
    return sorted((data for _, data in events), key=lambda data: (data["address"], data["id"]))


async def test_a_message_is_told_once_for_each_address_that_is_named(worker: Worker) -> None:
    await hook(worker, A, "room:*")
    await publish((A, B, OTHER), {"n": 1}, sender="shop", id="order-17", caller=CALLER)
    await publish((A, B, OTHER), {"n": 1}, sender="shop", id="order-17", caller=CALLER)
    message = {"message": {"n": 1}, "sender": "shop", "id": "order-17"}
    assert await messages(worker) == [{"address": B, **message}, {"address": A, **message}]


async def test_a_message_without_an_id_gets_one(worker: Worker) -> None:
    await hook(worker, "*")
    await publish((A,), "one")
    await worker.hub.publish(Publication((A,), "two"))
    worker.hub.publish_soon(Publication((A,), "three"))
    found = await messages(worker)
    assert sorted(data["message"] for data in found) == ["one", "three", "two"]
    assert len({data["id"] for data in found}) == 3
    assert all(data["id"] for data in found)


async def test_a_message_with_history_is_told_once_it_is_kept(worker: Worker) -> None:
    await query(AddressRule.objects.create, pattern=A, history_size=10)
    await worker.streams.read_rules()
    await hook(worker, A)
    for _ in range(2):
        await publish((A,), "kept", id="x1", caller=CALLER)
    await worker.hub.publish(Publication((A,), "of a client"))
    worker.hub.publish_soon(Publication((A,), "soon"))
    await worker.streams.settle()
    found = await messages(worker)
    assert sorted(data["message"] for data in found) == ["kept", "of a client", "soon"]
    assert [data["id"] for data in found if data["message"] == "kept"] == ["x1"]


async def test_internal_events_and_other_addresses_are_not_told(worker: Worker) -> None:
    await hook(worker, A)
    await publish((A,), None, event="$internal")
    await worker.hub.close(A)
    await publish((OTHER,), "no")
    assert await messages(worker) == []


async def test_a_webhook_that_names_no_addresses_is_not_told(worker: Worker) -> None:
    await hook(worker)
    assert worker.hub.published is None
    await publish((A,), "no")
    assert await messages(worker) == []


async def test_a_message_is_told_as_it_was_when_it_was_published(worker: Worker) -> None:
    await hook(worker, A)
    message = {"n": 1}
    await publish((A,), message)
    message["n"] = 2
    assert [data["message"] for data in await messages(worker)] == [{"n": 1}]


async def test_any_message_of_json_is_told(worker: Worker) -> None:
    await hook(worker, A)
    messages_of_json: list[Any] = ["\ud800", 2**70, None, "\x00", [[[]]], 1.5]
    for message in messages_of_json:
        await publish((A,), message, id=repr(message), caller=CALLER)
    found = {data["id"]: data["message"] for data in await messages(worker)}
    assert found == {repr(one): one for one in messages_of_json}


async def test_what_the_database_does_not_take_is_counted(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hook(worker, A)
    counted = lost("unreported")

    def fail(bodies: Any) -> None:
        raise OperationalError("out")

    monkeypatch.setattr(published_module, "write_bodies", fail)
    await publish((A,), "lost")
    await worker.published.settled()
    assert counted.grown == 1
    assert await query(told) == []


async def test_messages_that_wait_are_bounded(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    await hook(worker, A)
    monkeypatch.setattr(published_module, "MAX_WAITING", 1_000)
    counted = lost("unreported")
    for number in range(10):
        worker.hub.publish_soon(Publication((A,), f"{number}" * 100))
    found = len(await messages(worker))
    assert 0 < found < 10
    assert counted.grown == 10 - found
    worker.hub.publish_soon(Publication((A,), "there is room again"))
    assert len(await messages(worker)) == found + 1


async def test_a_script_tells_as_well(worker: Worker) -> None:
    """A process that serves nobody looks for webhooks when it publishes."""
    await query(subscribe, "message.published", addresses=[A])
    assert not worker.webhook_watch.keeps_fresh
    await publish((A,), "from a script")
    assert [data["message"] for data in await query(lambda: [data for _, data in told()])] == [
        "from a script"
    ]


async def test_the_hub_tells_no_more_when_nobody_wants_it(worker: Worker) -> None:
    await hook(worker, A)
    assert worker.hub.published is worker.published
    await query(Webhook.objects.all().delete)
    await worker.webhook_watch.read()
    assert worker.hub.published is None
