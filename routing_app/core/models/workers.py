"""Rows of worker processes: their leases, and the time that leases are measured by."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db import models
from django.db.models.functions import Now

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
