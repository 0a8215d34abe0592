"""Forgets the ids of scheduled messages that were sent."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models.functions import Now

from routing_app.core.models.scheduled_messages import ScheduledMessage


def forget_sent() -> None:
    """Delete the rows of messages that were sent so long ago that their ids are known no longer."""
    kept = timedelta(seconds=settings.IDEMPOTENCY_SECONDS)
    ScheduledMessage.objects.filter(sent_at__lt=Now() - kept).delete()
