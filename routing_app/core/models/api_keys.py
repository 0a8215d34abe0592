"""Rows of API keys."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from routing_app.core.access.patterns import check_patterns


class Scope(models.TextChoices):
    """The rights of an API key."""

    PUBLISH = "publish", "publish messages"
    READ = "read", "read listings, presence and metrics"
    MANAGE = "manage", "change tokens and rooms, disconnect clients"
    ADMIN = "admin", "change keys and issuers, read the audit log"


class ApiKey(models.Model):
    """A key of the control APIs. Only its hash is kept; the key itself is shown once, when it is made."""

    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16, help_text="First characters of the key, to recognise it by.")
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    addresses = models.JSONField(
        default=list,
        blank=True,
        validators=[check_patterns],
        help_text="Patterns of the addresses that it may be used for; empty: all.",
    )
    created_at = models.DateTimeField(db_default=Now())
    last_used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: it does not expire.")
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API key"
        ordering: ClassVar = ["name", "id"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
