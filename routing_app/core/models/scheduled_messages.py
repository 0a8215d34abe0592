"""Rows of messages that are published later."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from routing_app.core.models.outbox_messages import new_id


class ScheduledMessageQuerySet(models.QuerySet["ScheduledMessage"]):
    """Scheduled messages by what has become of them."""

    def waiting(self) -> ScheduledMessageQuerySet:
        """Those whose time has not come, or whose workers have not looked since."""
        return self.filter(sent_at=None)


class ScheduledMessage(models.Model):
    """One message with the time at which it goes into the table of the outbox.

    A row is deleted then. One whose publisher gave an id stays as long as the id is known, without contents.
    """

    number = models.BigAutoField(primary_key=True)
    """The order among messages of one time."""
    name = models.CharField(max_length=32, unique=True, default=new_id, verbose_name="id")
    addresses = models.JSONField()
    message = models.JSONField(null=True)
    sender = models.TextField(blank=True)
    caller = models.TextField(blank=True)
    """The credential that it came by, as `Grant.caller`."""
    publish_id = models.CharField(max_length=64, blank=True)
    """The id that its publisher gave."""
    once = models.CharField(max_length=64, unique=True, default=new_id, editable=False)
    """A hash of caller and `publish_id`, where there is one."""
    at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True)
    """The time at which it went into the table of the outbox."""

    objects = ScheduledMessageQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["at", "number"]
        default_permissions: ClassVar = ("view", "delete")
        indexes: ClassVar = [
            models.Index(fields=["at", "number"], name="scheduled_due", condition=models.Q(sent_at=None)),
            models.Index(fields=["sent_at"], name="scheduled_sent", condition=~models.Q(sent_at=None)),
        ]

    def __str__(self) -> str:
        return self.name
