"""What came of attempts, written many at once. Uses the ORM."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from routing_app.core import metrics
from routing_app.core.models.webhooks import Delivery, DeliveryStatus, Webhook
from routing_app.core.webhooks.retries import GIVE_UP

logger = logging.getLogger(__name__)

GONE: Final = "the receiver answered 410 (gone)"
FAILING: Final = f"no call succeeded for {GIVE_UP.days} days"


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that has ended. Neither done nor with a `delay`, it was the last one."""

    id: str
    webhook: int
    status: int | None
    error: str = ""
    is_done: bool = False
    is_gone: bool = False
    """The receiver wants nothing any more."""
    delay: timedelta | None = None
    """Until the next attempt."""

    @property
    def outcome(self) -> str:
        """The label of the metric."""
        if self.is_done:
            return "done"
        return "gone" if self.is_gone else "failed" if self.delay is None else "retry"


def write_attempts(attempts: Sequence[Attempt]) -> list[int]:
    """Write what came of attempts; the webhooks that are off now because of it."""
    done: defaultdict[int | None, list[str]] = defaultdict(list)
    for attempt in attempts:
        if attempt.is_done:
            done[attempt.status].append(attempt.id)
        else:
            _write_failure(attempt)
    for status, ids in done.items():
        _pending(ids).update(**_ended(DeliveryStatus.DONE), last_status=status, last_error="")
    for outcome, count in Counter(attempt.outcome for attempt in attempts).items():
        transaction.on_commit(partial(metrics.WEBHOOK_ATTEMPTS.labels(outcome).inc, count))
    return _judge(attempts)


def _write_failure(attempt: Attempt) -> None:
    changes = (
        _ended(DeliveryStatus.FAILED)
        if attempt.delay is None
        else {"attempts": F("attempts") + 1, "next_at": Now() + attempt.delay, "taken": False}
    )
    _pending([attempt.id]).update(**changes, last_status=attempt.status, last_error=attempt.error[:200])


def _pending(ids: Sequence[str]) -> Any:
    return Delivery.objects.filter(pk__in=ids, status=DeliveryStatus.PENDING)


def _ended(status: DeliveryStatus) -> dict[str, Any]:
    ended = {"status": status, "next_at": None, "taken": False, "ended_at": Now()}
    return {**ended, "attempts": F("attempts") + 1}


def _judge(attempts: Sequence[Attempt]) -> list[int]:
    """Note which webhooks fail, and switch off those that have failed for too long."""
    well = {attempt.webhook for attempt in attempts if attempt.is_done}
    failing = {attempt.webhook for attempt in attempts} - well
    gone = {attempt.webhook for attempt in attempts if attempt.is_gone}
    if well:
        Webhook.objects.filter(pk__in=well, failing_since__isnull=False).update(failing_since=None)
    off: list[int] = []
    if failing:
        Webhook.objects.filter(pk__in=failing, failing_since__isnull=True).update(failing_since=Now())
        tired = Webhook.objects.filter(pk__in=failing, failing_since__lte=Now() - GIVE_UP)
        off += _switch_off(tired, FAILING)
    if gone:
        off += _switch_off(Webhook.objects.filter(pk__in=gone), GONE)
    return off


def _switch_off(webhooks: Any, because: str) -> list[int]:
    ids = list(webhooks.filter(enabled=True).values_list("pk", flat=True))
    if ids:
        Webhook.objects.filter(pk__in=ids).update(enabled=False, off_because=because)
        for pk in ids:
            transaction.on_commit(partial(logger.warning, "webhook %s is off: %s", pk, because))
    return ids
