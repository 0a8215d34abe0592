"""Takes in messages that are published later: writes their rows, and withdraws them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from django.conf import settings
from django.db import DataError, connection, transaction
from django.utils import timezone

from routing_app.core.models.outbox_messages import new_id
from routing_app.core.models.scheduled_messages import ScheduledMessage
from routing_app.core.publishable import NotStorable, check_addresses, check_id, check_message
from routing_app.core.scheduled.expired import forget_sent
from routing_app.core.scheduled.times import NotATime, When, when_of
from routing_app.core.transactional.listener import CHANNEL
from routing_app.core.worker import Worker, wake_outbox

SOON: Final = timedelta(seconds=6)
"""Other workers are told of messages whose time comes before their next look into the table at the latest."""


class TooManyScheduled(Exception):
    """As many messages wait as may."""

    def __init__(self) -> None:
        super().__init__(f"{settings.MAX_SCHEDULED:,} messages wait already (MAX_SCHEDULED)")


@dataclass(frozen=True, slots=True)
class Later:
    """A message to publish later, checked; `publish_id` is "" or the id that `caller` gave it."""

    addresses: tuple[str, ...]
    message: Any
    when: When
    sender: str = ""
    caller: str = ""
    publish_id: str = ""
    name: str = field(default_factory=new_id)

    @property
    def once(self) -> str:
        """The same for the same id of the same caller, and else its own."""
        if not self.publish_id:
            return self.name
        return sha256(f"{self.caller}\n{self.publish_id}".encode()).hexdigest()


Outcome = str | NotATime | TooManyScheduled
"""The id of a scheduled message, or why there is none."""


async def schedule(worker: Worker, later: Later) -> str:
    """Have a message published later; its id, when the row is committed.

    The same id of the same caller is the same scheduled message, also after it was sent, as long as ids are
    known. Raises NotATime, NotStorable, TooManyScheduled, and the errors of BACKING_SERVICES.
    """
    try:
        outcomes = await worker.writes.submit_item(write, later)
    except DataError:
        raise NotStorable("the database cannot keep it") from None
    outcome = outcomes[later.name]
    if isinstance(outcome, str):
        return outcome
    raise outcome


def publish_later(
    addresses: Iterable[str],
    message: Any,
    *,
    at: datetime | None = None,
    delay: timedelta | float | None = None,
    id: str | None = None,
) -> str:
    """Publish at a time, or after a delay (seconds, or a timedelta); the id by which it is listed.

    It is written with the caller's transaction. The same `id` is the same message, as long as ids are known.

    Raises AddressError for an address that cannot be published to, TypeError for a string in place of several
    addresses or a message that JSON cannot hold, NotATime (a ValueError) for a time without a zone, one that
    is over or one that is too far, other ValueErrors for an id that has not 1 to 64 printable characters, no
    address or a message that no database holds, and TooManyScheduled.
    """
    if isinstance(addresses, str):
        raise TypeError(f"expected several addresses, but got the string {addresses!r}")
    if not (checked := check_addresses(addresses)):
        raise ValueError("expected at least one address")
    check_message(message)
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    given = {"at": None if at is None else at.isoformat(), "delay": seconds}
    when = when_of({name: value for name, value in given.items() if value is not None})
    if when is None:
        raise NotATime("at", "either `at` or `delay`")
    later = Later(checked, message, when, publish_id="" if id is None else check_id(id))
    with transaction.atomic():
        outcome = write([later])[later.name]
    if isinstance(outcome, str):
        return outcome
    raise outcome


def write(items: Sequence[Later]) -> dict[str, Outcome]:
    """Write rows in the present transaction; the outcome of each by its name.

    The time is the database's: it counts when the time has come, too.
    """
    now = database_time()
    forget_sent()
    outcomes: dict[str, Outcome] = {}
    known = _known(items)
    room = settings.MAX_SCHEDULED - ScheduledMessage.objects.waiting().count()
    rows: list[ScheduledMessage] = []
    for one in items:
        if (name := known.get(one.once)) is not None:
            outcomes[one.name] = name
            continue
        try:
            at = one.when.time(now)
        except NotATime as error:
            outcomes[one.name] = error
            continue
        if len(rows) >= room:
            outcomes[one.name] = TooManyScheduled()
            continue
        outcomes[one.name] = known[one.once] = one.name
        rows.append(_row(one, at))
    if rows:
        ScheduledMessage.objects.bulk_create(rows, ignore_conflicts=True)
        _tell(min(row.at for row in rows) < now + SOON)
    # Another worker may have written the same id meanwhile.
    written = _known(items)
    return outcomes | {one.name: written[one.once] for one in items if one.once in written}


def withdraw(rows: Any) -> int:
    """Delete waiting messages of a queryset; how many. One whose time has come is not there any more.

    The row of one that is on its way to the outbox is locked, and this waits for the end of that.
    """
    deleted: int = rows.filter(sent_at=None).delete()[0]
    return deleted


def database_time() -> datetime:
    """The time by the clock of the database, which all workers share."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def _known(items: Iterable[Later]) -> dict[str, str]:
    """The scheduled messages that have some `once` already: names by `once`."""
    wanted = [one.once for one in items if one.publish_id]
    if not wanted:
        return {}
    return dict(ScheduledMessage.objects.filter(once__in=wanted).values_list("once", "name"))


def _row(later: Later, at: datetime) -> ScheduledMessage:
    return ScheduledMessage(
        name=later.name,
        addresses=list(later.addresses),
        message=later.message,
        sender=later.sender,
        caller=later.caller,
        publish_id=later.publish_id,
        once=later.once,
        at=at,
    )


def _tell(soon: bool) -> None:
    if connection.vendor == "postgresql" and soon:
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")
    transaction.on_commit(wake_outbox)
