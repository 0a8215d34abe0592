"""Rows of the core: worker leases, connections, their subscriptions, API keys, and rules of addresses."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar, Final

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now

from routing_app.core.streams.patterns import check_pattern

LEASE_SECONDS: Final = 15
"""A worker that has not renewed for so long is gone, and everything that belongs to it."""


def lease_start() -> models.Expression | models.F | models.Func:
    """The database's time LEASE_SECONDS ago; its clock is the only one that leases are measured by."""
    return Now() - timedelta(seconds=LEASE_SECONDS)


class WorkerQuerySet(models.QuerySet["WorkerRecord"]):
    """Workers by their lease."""

    def alive(self) -> WorkerQuerySet:
        """Workers whose lease holds."""
        return self.filter(renewed_at__gte=lease_start())

    def gone_for(self, seconds: float, witnessed: datetime) -> WorkerQuerySet:
        """Workers that have not renewed for `seconds`, and not because nobody could."""
        leased = models.Q(leased_at__lt=witnessed - timedelta(seconds=seconds)) | models.Q(leased_at=None)
        return self.filter(leased, renewed_at__lt=Now() - timedelta(seconds=seconds))


class WorkerRecord(models.Model):
    """One server process and its lease."""

    id = models.CharField(primary_key=True, max_length=32)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(db_default=Now())
    renewed_at = models.DateTimeField(db_default=Now(), db_index=True)
    leased_at = models.DateTimeField(null=True, blank=True)
    """The `witnessed` time of the last renewal (`reach.py`), for protocols that
    give away what hung on the lease."""

    objects = WorkerQuerySet.as_manager()

    class Meta:
        verbose_name = "worker"

    def __str__(self) -> str:
        return f"{self.host}/{self.pid}"


class Reach(models.Model):
    """The one row of `reach.py`: how far its clocks were set, and what they have lost by standing still."""

    version = models.BigIntegerField(default=0)
    mark = models.CharField(max_length=16)
    reached_at = models.DateTimeField(db_default=Now())
    reached_lost = models.FloatField(default=0.0)
    witnessed_at = models.DateTimeField(db_default=Now())
    witnessed_lost = models.FloatField(default=0.0)

    def __str__(self) -> str:
        return self.mark


class ConnectionQuerySet(models.QuerySet["ConnectionRecord"]):
    """Connections by presence."""

    def present(self) -> ConnectionQuerySet:
        """Connections of workers whose lease holds: the only ones that count as connected."""
        return self.filter(worker__renewed_at__gte=lease_start())

    def subscribed(self, address: str) -> ConnectionQuerySet:
        """Connections that are subscribed to an address."""
        return self.filter(subscriptions__address=address)


class ConnectionRecord(models.Model):
    """Presence of one connection; it counts only while its worker's lease holds (`present()`)."""

    id = models.CharField(primary_key=True, max_length=32)
    worker = models.ForeignKey(WorkerRecord, models.CASCADE, related_name="connections")
    protocol = models.CharField(max_length=16, db_index=True)
    identity = models.CharField(max_length=255, blank=True, db_index=True)
    peer = models.CharField(max_length=64, blank=True)
    connected_at = models.DateTimeField()

    objects = ConnectionQuerySet.as_manager()

    class Meta:
        verbose_name = "connection"
        ordering: ClassVar = ["-connected_at", "id"]

    def __str__(self) -> str:
        return f"{self.protocol} {self.id}"


class Subscription(models.Model):
    """One address that a connection is subscribed to."""

    connection = models.ForeignKey(ConnectionRecord, models.CASCADE, related_name="subscriptions")
    address = models.CharField(max_length=512, db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["connection", "address"], name="subscription_once")
        ]

    def __str__(self) -> str:
        return self.address.partition(":")[0]


class Scope(models.TextChoices):
    """The rights of an API key."""

    PUBLISH = "publish", "publish messages"
    READ = "read", "read listings, presence and metrics"
    MANAGE = "manage", "change tokens and rooms, disconnect clients"


class ApiKey(models.Model):
    """A key of the control APIs. Only its hash is kept; the key itself is shown once, when it is made."""

    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16, help_text="First characters of the key, to recognise it by.")
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now())
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API key"
        ordering: ClassVar = ["name", "id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class AddressRule(models.Model):
    """The messages that are kept of some addresses; of several rules the longest pattern counts."""

    pattern = models.CharField(
        max_length=512,
        unique=True,
        validators=[check_pattern],
        help_text="An address, or a prefix of addresses with a final *.",
    )
    history_size = models.PositiveIntegerField(
        default=0,
        validators=[MaxValueValidator(10_000)],
        help_text="Messages that are kept of each address; 0: none.",
    )
    history_seconds = models.PositiveIntegerField(
        default=300,
        validators=[MinValueValidator(1), MaxValueValidator(2_592_000)],
        help_text="How long a message is kept.",
    )
    notices = models.BooleanField(
        default=False, help_text="Subscribers may ask to be told who comes and goes."
    )
    note = models.CharField(max_length=255, blank=True)

    class Meta:
        verbose_name = "address rule"
        ordering: ClassVar = ["pattern"]

    def __str__(self) -> str:
        return self.pattern.partition(":")[0]
