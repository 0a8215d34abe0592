"""Registered tokens."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from routing_app.core.access.masking import mask
from routing_app.tokens.wire import MAX_TOKEN


class Source(models.TextChoices):
    """The origin of a token, and of its end."""

    ADMIN = "admin", "admin"
    API = "api", "API"
    IMPORT = "import", "import"


class RegisteredToken(models.Model):
    """A token that may connect where not all may; `enabled` false is the original's `false` entry.

    `disabled_by` tells a token that an operator has disabled from one that the imported table has: an import
    may enable only the latter again.
    """

    token = models.CharField(max_length=MAX_TOKEN, unique=True)
    enabled = models.BooleanField(default=True)
    disabled_by = models.CharField(max_length=8, choices=Source, blank=True, default="", editable=False)
    note = models.CharField(max_length=255, blank=True)
    source = models.CharField(max_length=8, choices=Source, default=Source.ADMIN, editable=False)
    created_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["token"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(enabled=True, disabled_by="") | Q(enabled=False) & ~Q(disabled_by=""),
                name="token_disabled_by_somebody",
            )
        ]

    def __str__(self) -> str:
        return mask(self.token)
