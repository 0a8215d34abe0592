"""Rows of messages that are published after the commit which wrote them."""

from __future__ import annotations

import secrets
from typing import ClassVar, Final

from django.db import connection, models
from django.db.models.functions import Now

TABLE: Final = "outbox_message"


def new_id() -> str:
    """An id that no other message has."""
    return secrets.token_hex(16)


class OutboxMessageQuerySet(models.QuerySet["OutboxMessage"]):
    """Messages by the order in which they were written."""

    def in_order(self) -> OutboxMessageQuerySet:
        """The oldest first: by a sequence of PostgreSQL, or by SQLite's own numbers of rows.

        A time would not do: clocks are set.
        """
        if connection.vendor == "postgresql":
            return self.order_by("position")
        return self.order_by(models.expressions.RawSQL(f"{TABLE}.rowid", ()))  # noqa: S611 - a constant


class OutboxMessage(models.Model):
    """One message to publish. Any program may insert one; docs/transactional.md says how."""

    id = models.TextField(primary_key=True, default=new_id)
    addresses = models.JSONField()
    message = models.JSONField(null=True)
    sender = models.TextField(default="", db_default="", blank=True)
    """A name for receivers to see."""
    caller = models.TextField(default="", db_default="", editable=False)
    publish_id = models.TextField(default="", db_default="", editable=False)
    """Who gave the message an id, and that id; where they are empty, its id is that of the row."""
    created_at = models.DateTimeField(db_default=Now())
    position = models.BigIntegerField(db_default=0, editable=False, db_index=True)
    """On PostgreSQL the default is the next number of a sequence (`transactional/numbering.py`)."""

    objects = OutboxMessageQuerySet.as_manager()

    class Meta:
        db_table = TABLE
        verbose_name = "message after a commit"
        verbose_name_plural = "messages after a commit"
        default_permissions: ClassVar = ("view", "delete")

    def __str__(self) -> str:
        return self.id
