"""Rows of the audit log."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class ActorKind(models.TextChoices):
    """The kind of credential that somebody acted with."""

    USER = "user", "user"
    KEY = "key", "API key"
    TOKEN = "token", "access token"
    COMMAND = "command", "command line"
    NOBODY = "nobody", "no credential"


class AuditEntry(models.Model):
    """One act of one actor. Never a secret, a whole token, or a message."""

    at = models.DateTimeField(db_default=Now(), db_index=True)
    actor = models.CharField(max_length=512, blank=True, db_index=True)
    actor_kind = models.CharField(max_length=16, choices=ActorKind.choices)
    action = models.CharField(max_length=100, db_index=True)
    target = models.CharField(max_length=512, blank=True, db_index=True)
    outcome = models.CharField(max_length=100)
    network = models.CharField(max_length=64, blank=True)
    request_id = models.CharField(max_length=128, blank=True)

    class Meta:
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        ordering: ClassVar = ["-at", "-id"]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor_kind}"
