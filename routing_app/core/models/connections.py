"""Rows of presence: connections and their subscriptions."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from routing_app.core.models.workers import WorkerRecord, lease_start


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
        permissions: ClassVar = [
            ("publish", "Can publish to addresses, and ask clients"),
            ("view_messages", "Can subscribe to addresses, and see who is there and their history"),
            ("trace", "Can follow connections frame by frame"),
            ("read_bodies", "Can read the bodies of frames that are followed"),
            ("drain_worker", "Can drain a worker"),
            ("view_settings", "Can view the settings of the server"),
        ]

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
