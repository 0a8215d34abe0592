"""Django admin of the audit log: to look at, for everybody."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from routing_app.core.models import AuditEntry


@admin.register(AuditEntry)
class AuditEntryAdmin(admin.ModelAdmin[AuditEntry]):
    """Who did what."""

    list_display = ("at", "actor_kind", "actor", "action", "target", "outcome", "network", "request_id")
    list_filter = ("actor_kind", "action", "outcome")
    search_fields = ("=actor", "=target", "=network", "=request_id")
    date_hierarchy = "at"
    fields = list_display
    readonly_fields = list_display
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody, superusers included."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False
