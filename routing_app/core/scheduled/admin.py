"""Django admin of messages that wait for their time: to look at, and to withdraw."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from routing_app.core import json
from routing_app.core.access import staff
from routing_app.core.access.masking import SecretAccess, shown_address
from routing_app.core.models import ScheduledMessage
from routing_app.core.scheduled.service import withdraw

SHOWN: Final = 5
"""Addresses in a list."""


@admin.register(ScheduledMessage)
class ScheduledMessageAdmin(admin.ModelAdmin[ScheduledMessage]):
    """Messages that wait; their contents are for users who may view messages."""

    list_display = ("name", "at", "shown_addresses", "sender", "created_at")
    search_fields = ("=name", "=sender")
    date_hierarchy = "at"
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[ScheduledMessage]:
        """Those that wait."""
        return ScheduledMessage.objects.waiting()

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The message only for users who may see it."""
        content = ("content",) if request.user.has_perm(staff.VIEW_MESSAGES) else ()
        return (*self.list_display, "publish_id", *content)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """All of them."""
        return self.get_fields(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes."""
        return False

    def delete_model(self, request: HttpRequest, obj: ScheduledMessage) -> None:
        """Withdraw one, and say so where a worker was faster."""
        if not withdraw(ScheduledMessage.objects.filter(pk=obj.pk)):
            messages.warning(request, "Its time has come: it is, or will be, sent.")

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ScheduledMessage]) -> None:
        """Withdraw the selected ones."""
        selected = queryset.count()
        if (late := selected - withdraw(queryset)) > 0:
            messages.warning(request, f"The time of {late} has come: they are, or will be, sent.")

    @admin.display(description="addresses")
    def shown_addresses(self, row: ScheduledMessage) -> str:
        """The first addresses; those that let a client in are masked for everybody."""
        shown = ", ".join(shown_address(SecretAccess(), one) for one in row.addresses[:SHOWN])
        return f"{shown}, …" if len(row.addresses) > SHOWN else shown

    @admin.display(description="message")
    def content(self, row: ScheduledMessage) -> str:
        """The message as JSON."""
        return json.dumps(row.message)
