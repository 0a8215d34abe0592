"""Django admin of rate limits."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from routing_app.core.models import RateLimit
from routing_app.core.rate_limits.notice import tell_limits_changed


@admin.register(RateLimit)
class RateLimitAdmin(admin.ModelAdmin[RateLimit]):
    """How often clients may do something; a change holds in every worker within seconds."""

    list_display = ("protocol", "command", "per", "rate", "burst", "then", "note")
    list_display_links = ("protocol", "command")
    list_filter = ("protocol", "command", "per", "then")
    search_fields = ("protocol", "note")

    def save_model(self, request: HttpRequest, obj: RateLimit, form: Any, change: bool) -> None:
        """Save, and tell."""
        super().save_model(request, obj, form, change)
        transaction.on_commit(tell_limits_changed)

    def delete_model(self, request: HttpRequest, obj: RateLimit) -> None:
        """Delete one limit, and tell."""
        super().delete_model(request, obj)
        transaction.on_commit(tell_limits_changed)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[RateLimit]) -> None:
        """Delete the selected limits, and tell."""
        super().delete_queryset(request, queryset)
        transaction.on_commit(tell_limits_changed)
