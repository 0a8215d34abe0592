"""Registered tokens."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Source(models.TextChoices):
    """Where a registered token came from."""

    ADMIN = "admin", "admin"
    API = "api", "API"
    IMPORT = "import", "import"


class RegisteredToken(models.Model):
    """A token that may connect while the gate is closed; `enabled` false is the original's `false` entry."""

    token = models.CharField(max_length=255, unique=True)
    enabled = models.BooleanField(default=True)
    note = models.CharField(max_length=255, blank=True)
    source = models.CharField(max_length=8, choices=Source, default=Source.ADMIN)
    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["token"]

    def __str__(self) -> str:
        return self.token
