"""Rows that cannot be deleted once their messages are published, as on a full disk."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django.db.models import QuerySet

from routing_app.core.database import query
from routing_app.core.delivery.publication import Publication
from routing_app.core.models.outbox_messages import OutboxMessage
from routing_app.core.transactional.sender import OutboxSender
from switchboard import publish_on_commit

pytestmark = pytest.mark.django_db(transaction=True)


class Everything:
    """Relay and streams of a sender: all that is published leaves at once."""

    gave_up = False
    failures = 0

    def __init__(self) -> None:
        self.published: list[Any] = []

    async def flushed(self, failures: int) -> bool:
        return True

    def kept(self, publication: Publication) -> dict[str, Any]:
        return {}

    async def publish(self, publication: Publication, *_: Any, **options: Any) -> None:
        self.published.append(publication.message)


async def test_their_messages_are_published_once(monkeypatch: pytest.MonkeyPatch) -> None:
    around = cast("Any", Everything())
    sender = OutboxSender(asyncio.ensure_future, around, around, around)

    def refuse(rows: Any) -> None:
        raise OperationalError("database or disk is full")

    await sync_to_async(publish_on_commit)(["token:a"], 1)
    with monkeypatch.context() as patch:
        patch.setattr(QuerySet, "delete", refuse)
        for number in (2, 3):
            with pytest.raises(OperationalError):
                await sender._send_all()
            await sync_to_async(publish_on_commit)(["token:a"], number)
        with pytest.raises(OperationalError):
            await sender._send_all()
    await sync_to_async(publish_on_commit)(["token:a"], 4)
    await sender._send_all()

    assert around.published == [1, 2, 3, 4]
    assert await query(OutboxMessage.objects.count) == 0


async def test_a_message_of_the_same_id_is_published_once_their_rows_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another worker has deleted the row; whether a message is new is for the store of streams to say."""
    around = cast("Any", Everything())
    sender = OutboxSender(asyncio.ensure_future, around, around, around)

    def refuse(rows: Any) -> None:
        raise OperationalError("the session was ended")

    await query(lambda: OutboxMessage.objects.create(id="order 17", addresses=["token:a"], message=1))
    with monkeypatch.context() as patch:
        patch.setattr(QuerySet, "delete", refuse)
        with pytest.raises(OperationalError):
            await sender._send_all()
    await query(lambda: OutboxMessage.objects.all().delete())
    await sender._send_all()
    await query(lambda: OutboxMessage.objects.create(id="order 17", addresses=["token:a"], message=2))
    await sender._send_all()

    assert around.published == [1, 2]
    assert await query(OutboxMessage.objects.count) == 0
