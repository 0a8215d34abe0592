"""Rows of addresses that have subscribers, for the events `address.occupied` and `address.vacated`.

They are kept while a webhook wants one of these events; `webhooks/occupied.py` has the rules.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from routing_app.core.models.webhooks import Webhook
from routing_app.core.models.workers import WorkerRecord

ADDRESS_LENGTH = 512


class AddressHolder(models.Model):
    """A worker that has subscribers of an address, or had some a moment ago."""

    address = models.CharField(max_length=ADDRESS_LENGTH)
    worker = models.ForeignKey(WorkerRecord, models.CASCADE, related_name="+")

    class Meta:
        default_permissions: ClassVar = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["address", "worker"], name="address_holder_once")
        ]

    def __str__(self) -> str:
        return self.worker_id


class OccupiedAddress(models.Model):
    """An address of which a webhook was told that it is occupied, and not yet that it is vacated."""

    webhook = models.ForeignKey(Webhook, models.CASCADE, related_name="+", db_constraint=False)
    address = models.CharField(max_length=ADDRESS_LENGTH)
    empty_since = models.DateTimeField(null=True)
    """Set when its last holder was taken for dead, or has stopped: it is vacated soon, unless it has one."""

    class Meta:
        default_permissions: ClassVar = ()
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["address", "webhook"], name="occupied_address_once")
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["empty_since"],
                name="occupied_address_empty",
                condition=models.Q(empty_since__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return self.address.partition(":")[0]
