"""Publishes what stands in the table of the outbox, one process at a time, in the order of the table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from hashlib import sha256
from itertools import groupby, takewhile
from typing import Any, Final, NamedTuple

from django.db import connection, models, transaction
from django.db.models.functions import Cast

from routing_app.core import json, metrics
from routing_app.core.address import AddressError
from routing_app.core.cluster.spread import AnyRelay
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.codes import Loss
from routing_app.core.database import query
from routing_app.core.delivery.hub import Hub
from routing_app.core.delivery.publication import Publication
from routing_app.core.models.outbox_messages import OutboxMessage
from routing_app.core.publishable import check_addresses, check_id
from routing_app.core.scheduled.mover import Mover
from routing_app.core.streams.store import StoreUnavailable
from routing_app.core.streams.streams import Streams
from routing_app.core.transactional.listener import Listener

logger = logging.getLogger(__name__)

BATCH: Final = 500
"""Messages that are published at once, and deleted together. Far less than the names that a hub remembers:
another worker may have to publish them again."""
POLL_SECONDS: Final = 0.5
"""Between two looks into the table where nothing tells of new rows: on SQLite, another process may write."""
LISTENING_SECONDS: Final = 5.0
"""The same while PostgreSQL tells of them."""
BUSY_SECONDS: Final = 0.1
"""Until another look while another worker sends."""
RETRY_SECONDS: Final = 1.0
"""After a failure."""
PUBLISH_SECONDS: Final = 10.0
"""Longest wait of a thread for the loop, which may have ended."""
FROZEN_SECONDS: Final = 12
"""PostgreSQL ends the transaction of a worker that has stopped while it sends."""
LOCK: Final = 0x5377_4F75_7442_6F78
"""Name of the advisory lock of the worker that sends."""
CALLER: Final = "outbox"

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Row(NamedTuple):
    """One message of the table. JSON is text here: a value that cannot be read must not stop all others."""

    id: str
    addresses: str | None
    message: str | None
    sender: str
    caller: str
    publish_id: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a row, or the reason why it cannot be published."""

    row_id: str
    publication: Publication | None
    id: str = ""
    caller: str = ""
    error: str = ""


class Way(NamedTuple):
    """The stores that take a message first.

    Messages that go the same way keep their order, however many are on it; one that goes `alone` may go by
    stores and past them.
    """

    servers: tuple[int, ...] = ()
    alone: str = ""


class OutboxSender:
    """Sends for one worker, as long as it lives.

    Of several workers one sends at a time, so that the order stays; the others wait for its lock. Rows are
    deleted after they were published: a worker that dies in between leaves them to another, and the store of
    streams knows their ids.
    """

    def __init__(self, spawn: Spawn, hub: Hub, relay: AnyRelay, streams: Streams) -> None:
        self._spawn = spawn
        self._hub = hub
        self._relay = relay
        self._streams = streams
        self._done: set[str] = set()
        """Messages that are done with, and whose rows could not be deleted: a disk may be full."""
        self._work = asyncio.Event()
        self._listener = Listener(self.wake)
        self._mover = Mover(spawn, lambda: self._listener.listens, self._work.set)

    def start(self) -> None:
        """Look into the table from now on."""
        self._spawn(self._run())
        self._mover.start()
        if connection.vendor == "postgresql":
            self._spawn(self._listener.run())

    def wake(self) -> None:
        """There may be something to send, or to be sent later."""
        self._work.set()
        self._mover.wake()

    async def _run(self) -> None:
        while True:
            pause = LISTENING_SECONDS if self._listener.listens else POLL_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._work.wait()
            self._work.clear()
            try:
                await self._send_all()
            except Exception as error:
                logger.warning("messages after a commit wait: %s", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
                self.wake()

    async def _send_all(self) -> None:
        loop = asyncio.get_running_loop()

        def publish_all(rows: list[Row]) -> list[str]:
            new = [row for row in rows if row.id not in self._done]
            publishing = asyncio.run_coroutine_threadsafe(self._publish_all(new), loop)
            try:
                self._done.update(publishing.result(PUBLISH_SECONDS))
            finally:
                publishing.cancel()  # nothing where it has ended
            return [row.id for row in rows if row.id in self._done]

        outcome = Outcome.SENT
        while outcome is not Outcome.EMPTY:
            outcome = await query(_send_some, publish_all)
            # Also where there are no rows: another worker may have deleted those that this one could not.
            self._done.clear()
            if outcome in (Outcome.BUSY, Outcome.OUT):
                await asyncio.sleep(BUSY_SECONDS if outcome is Outcome.BUSY else RETRY_SECONDS)

    async def _publish_all(self, rows: list[Row]) -> list[str]:
        """Publish messages in order; the ids of those that are done with, which have left for all processes.

        Nothing is published behind one that waits for a backing service: the order would be lost.
        """
        if self._relay.gave_up:
            return []
        failures = self._relay.failures
        done: list[str] = []
        for _, run in groupby(map(_message_of, rows), self._way):
            messages = list(run)
            outcomes = await asyncio.gather(*map(self._publish, messages))
            published = list(takewhile(lambda one: one[1], zip(messages, outcomes, strict=True)))
            done += [message.row_id for message, _ in published]
            if len(published) < len(messages):
                break
        return done if await self._relay.flushed(failures) else []

    def _way(self, message: Message) -> Way:
        if message.publication is None:
            return Way(alone=message.row_id)
        kept = self._streams.kept(message.publication)
        if not kept:
            return Way()
        is_mixed = len(kept) < len(message.publication.addresses)
        return Way(self._streams.servers(kept), message.row_id if is_mixed else "")

    async def _publish(self, message: Message) -> bool:
        """Publish a message that a worker may have published before it died; False while a backing service
        is out.
        """
        if message.publication is None:
            logger.warning(
                "the row %r of a message after a commit cannot be published and is deleted: %s",
                message.row_id[:64],
                message.error,
            )
            metrics.LOST.labels(Loss.UNENCODABLE).inc()
            return True
        try:
            await self._streams.publish(message.publication, message.id, message.caller, surely=True)
        except (StoreUnavailable, LayerUnavailable):
            return False
        return True


_TEXT: Final = models.TextField()
COLUMNS: Final = (
    *("id", Cast("addresses", _TEXT), Cast("message", _TEXT)),
    *("sender", "caller", "publish_id"),
)
"""Those of `Row`."""


class Outcome(Enum):
    """The outcome of one look into the table."""

    EMPTY = auto()
    SENT = auto()
    BUSY = auto()
    """Another worker sends."""
    OUT = auto()
    """A backing service is down."""


def _send_some(publish_all: Callable[[list[Row]], list[str]]) -> Outcome:
    """Publish the oldest messages, and delete those that are done with. Runs in a thread."""
    if not OutboxMessage.objects.exists():
        return Outcome.EMPTY
    if connection.vendor != "postgresql":
        return _send_oldest(publish_all)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{FROZEN_SECONDS}s'")
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
            if not cursor.fetchone()[0]:
                return Outcome.BUSY
        return _send_oldest(publish_all)


def _send_oldest(publish_all: Callable[[list[Row]], list[str]]) -> Outcome:
    rows = [Row(*values) for values in OutboxMessage.objects.in_order().values_list(*COLUMNS)[:BATCH]]
    done = publish_all(rows)
    OutboxMessage.objects.filter(pk__in=done).delete()
    return Outcome.SENT if len(done) == len(rows) else Outcome.OUT


def _message_of(row: Row) -> Message:
    """The message of a row, which another program may have written."""
    try:
        addresses, message = (None if text is None else json.loads(text) for text in row[1:3])
        publication = Publication(_checked(addresses), message, sender=row.sender)
    except json.NotJSON as error:
        return Message(row.id, None, error=error.msg)
    except AddressError as error:
        return Message(row.id, None, error=str(error))
    if row.publish_id:
        return Message(row.id, publication, row.publish_id, row.caller)
    return Message(row.id, publication, _publishable(row.id), CALLER)


def _publishable(id: str) -> str:
    """The id of a row as ids of messages are; another program may have made it longer."""
    try:
        return check_id(id)
    except ValueError:
        return sha256(id.encode()).hexdigest()


def _checked(addresses: Any) -> tuple[str, ...]:
    """The addresses of a row. Raises AddressError."""
    if not isinstance(addresses, list) or not all(isinstance(one, str) for one in addresses):
        raise AddressError("`addresses` is a list of strings")
    return check_addresses(addresses)
