"""Rows of webhooks, and of what is to be delivered to them."""

from __future__ import annotations

import secrets
import threading
import time
from datetime import timedelta
from typing import ClassVar, Final

from django.db import models
from django.db.models.functions import Now

from routing_app.core.access.patterns import check_patterns
from routing_app.core.outgoing.headers import check_headers
from routing_app.core.outgoing.urls import MAX_URL, check_url
from routing_app.core.webhooks.events import check_events

ROTATION: Final = timedelta(hours=24)
"""A secret signs so long beside the one that took its place."""


class _Moments:
    """Times in nanoseconds, each later than the one before it."""

    def __init__(self) -> None:
        self._latest = 0
        self._lock = threading.Lock()

    def next(self) -> int:
        with self._lock:
            self._latest = max(self._latest + 1, time.time_ns())
            return self._latest


_moments = _Moments()


def new_delivery_id() -> str:
    """An id that no other delivery has: the `webhook-id` of each of its attempts.

    It begins with the time, so that deliveries of one `created_at`, which are written by one statement, or on
    SQLite within one millisecond, have an order: that in which they were made.
    """
    return f"msg_{_moments.next():016x}{secrets.token_hex(8)}"


class Webhook(models.Model):
    """A URL that is told of events."""

    name = models.CharField(max_length=100)
    url = models.CharField(max_length=MAX_URL, validators=[check_url])
    events = models.JSONField(
        default=list,
        validators=[check_events],
        help_text="Types of events: `session.created`, a prefix such as `session.*`, or `*`.",
    )
    addresses = models.JSONField(
        default=list,
        blank=True,
        validators=[check_patterns],
        help_text="Patterns, for events that have an address; empty: all. `message.published` needs some.",
    )
    headers = models.JSONField(
        default=dict,
        blank=True,
        validators=[check_headers],
        help_text="Headers that each call has, by name.",
    )
    secret = models.CharField(max_length=100, editable=False)
    old_secret = models.CharField(max_length=100, blank=True, editable=False)
    rotated_at = models.DateTimeField(null=True, blank=True, editable=False)
    """Time at which `secret` took the place of `old_secret`, which signs, too, for ROTATION."""
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=Now())
    failing_since = models.DateTimeField(null=True, blank=True, editable=False)
    """Time of the first failure since the last success."""
    off_because = models.CharField(max_length=100, blank=True, editable=False)
    """Why the server has switched it off; empty while it is on, or off by an operator."""

    class Meta:
        ordering: ClassVar = ["name", "id"]

    def __str__(self) -> str:
        return self.name


class DeliveryStatus(models.TextChoices):
    """The state of a delivery."""

    PENDING = "pending", "pending"
    DONE = "done", "done"
    FAILED = "failed", "failed"


class Delivery(models.Model):
    """One event on its way to one webhook: a row of the outbox, written with the change that it tells of."""

    id = models.CharField(primary_key=True, max_length=40, default=new_delivery_id)
    webhook = models.ForeignKey(
        Webhook, models.CASCADE, related_name="deliveries", db_index=False, db_constraint=False
    )
    """No constraint: a change that is reported must not fail because a webhook is deleted just then. Rows
    that are left over are deleted by `webhooks.upkeep`."""
    type = models.CharField(max_length=40)
    body = models.TextField(help_text="JSON as it is sent, the same at each attempt.")
    status = models.CharField(max_length=8, choices=DeliveryStatus.choices, default=DeliveryStatus.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(db_default=Now(), null=True)
    """Time of the next attempt; of one that is under way, the time after which its worker counts as dead.
    None once it has ended."""
    taken = models.BooleanField(db_default=False, editable=False)
    """True while an attempt is under way, or its worker has died."""
    last_status = models.PositiveSmallIntegerField(null=True, blank=True)
    last_error = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "deliveries"
        ordering: ClassVar = ["-created_at", "-id"]
        default_permissions: ClassVar = ("view", "delete")
        indexes: ClassVar = [
            models.Index(
                fields=["webhook", "next_at"],
                name="delivery_pending",
                condition=models.Q(next_at__isnull=False),
            ),
            models.Index(
                fields=["ended_at"], name="delivery_ended", condition=models.Q(ended_at__isnull=False)
            ),
            models.Index(fields=["webhook", "-created_at", "-id"], name="delivery_listed"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"
