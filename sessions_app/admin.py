"""Django admin: publishers with their keys and limits, live sessions, customers and their history."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from routing_app.core.issuers.admin import SigningKeyInline
from sessions_app import service
from sessions_app.models import Account, Limit, Publisher, PublisherKey, Session, SessionEvent
from sessions_app.store import AccountKey


class KeyInline(SigningKeyInline[PublisherKey, Publisher]):
    """The keys of a publisher."""

    model = PublisherKey


class LimitInline(admin.TabularInline[Limit, Publisher]):
    """The limits of a publisher."""

    model = Limit
    extra = 0


@admin.register(Publisher)
class PublisherAdmin(admin.ModelAdmin[Publisher]):
    """Publishers. The name is in the tokens of its customers, and stays."""

    list_display = ("name", "tracking_enabled", "created_at")
    list_filter = ("tracking_enabled",)
    search_fields = ("name",)
    inlines = (KeyInline, LimitInline)

    def get_readonly_fields(self, request: HttpRequest, obj: Publisher | None = None) -> tuple[str, ...]:
        """The name, once there is one."""
        return ("created_at",) if obj is None else ("name", "created_at")


class WrittenByServer(admin.ModelAdmin[Any]):
    """Rows that only the server writes."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes a row; an action has a permission of its own."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes."""
        return False


@admin.register(Session)
class SessionAdmin(WrittenByServer):
    """Sessions that hold a slot now."""

    list_display = (
        "id",
        "customer",
        "publisher",
        "shown_name",
        "stream",
        "device",
        "since",
        "last_seen",
        "worker",
    )
    list_filter = ("account__publisher", "device_type")
    search_fields = ("=id", "=account__customer", "name", "=offer_id", "=tag", "=device_id")
    actions = ("end_selected",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Session]:
        """Live sessions."""
        return service.operators_view()

    def has_end_permission(self, request: HttpRequest) -> bool:
        """The right to change sessions is the right to end them."""
        return bool(request.user.has_perm("sessions_app.change_session"))

    @admin.display(description="customer", ordering="account__customer")
    def customer(self, row: Session) -> str:
        """The customer that plays."""
        return row.account.customer

    @admin.display(description="publisher", ordering="account__publisher__name")
    def publisher(self, row: Session) -> str:
        """The publisher of that customer."""
        return row.account.publisher.name

    @admin.display(description="name", ordering="name")
    def shown_name(self, row: Session) -> str:
        """As other players see it."""
        return row.display_name

    @admin.display(description="offer or tag")
    def stream(self, row: Session) -> str:
        """The content that it plays."""
        return row.offer_id or f"tag {row.tag}"

    @admin.display(description="device")
    def device(self, row: Session) -> str:
        """The device that it plays on."""
        return " ".join(filter(None, [row.device_name or row.device_id, row.device_type]))

    @admin.display(description="since", ordering="created_at")
    def since(self, row: Session) -> Any:
        """When it was created."""
        return row.created_at

    @admin.display(description="last seen", ordering="last_seen_at")
    def last_seen(self, row: Any) -> Any:
        """When it was last known to live."""
        return row.last_seen_at

    @admin.action(description="End selected sessions", permissions=["end"])
    def end_selected(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        """Free the slots; players that are connected are told to stop."""
        rows = queryset.values_list("account__publisher__name", "account__customer", "pk")
        selected = [(AccountKey(publisher, customer), id) for publisher, customer, id in rows]
        killed = service.kill_sync(selected, request.user.get_username())
        messages.success(request, f"{killed} sessions ended.")


@admin.register(Account)
class AccountAdmin(WrittenByServer):
    """Customers that have asked for a session."""

    list_display = ("customer", "publisher", "created_at", "history")
    list_filter = ("publisher",)
    list_select_related = ("publisher",)
    search_fields = ("=customer",)
    fields = ("customer", "publisher", "created_at", "history")

    @admin.display(description="history")
    def history(self, row: Account) -> str:
        """A link to what has happened to the customer's sessions."""
        url = reverse("admin:sessions_app_sessionevent_changelist")
        return format_html('<a href="{}?account__id__exact={}">events</a>', url, row.pk)


@admin.register(SessionEvent)
class EventAdmin(WrittenByServer):
    """History of all customers."""

    list_display = ("at", "kind", "account", "name", "offer_id", "tag", "by", "why", "observed", "session_id")
    list_filter = ("kind", "observed", "account__publisher")
    list_select_related = ("account",)
    search_fields = ("=account__customer", "=session_id", "name")
    date_hierarchy = "at"

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """One customer's history is a link on the customer."""
        return lookup == "account__id__exact" or super().lookup_allowed(lookup, value, request)
