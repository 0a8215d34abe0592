"""Django admin of the core: API keys, rules of addresses, connected clients, workers."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.http import HttpRequest

from routing_app.core.access import keys, masking
from routing_app.core.access.key_changes import forget, revoke
from routing_app.core.access.pattern_field import PatternsField
from routing_app.core.address import make
from routing_app.core.audit import admin as audit_admin
from routing_app.core.hooks import admin as hooks_admin
from routing_app.core.issuers import admin as issuers_admin
from routing_app.core.models import AddressRule, ApiKey, ConnectionRecord, OutboxMessage, Scope, WorkerRecord
from routing_app.core.protocol import registered
from routing_app.core.publishing import disconnect_sync
from routing_app.core.rate_limits import admin as limits_admin
from routing_app.core.revocations import admin as revocations_admin
from routing_app.core.scheduled import admin as scheduled_admin
from routing_app.core.streams.notice import tell_rules_changed
from routing_app.core.webhooks import admin as webhooks_admin

__all__ = [
    "audit_admin",
    "hooks_admin",
    "issuers_admin",
    "limits_admin",
    "revocations_admin",
    "scheduled_admin",
    "webhooks_admin",
]
SHOWN_PATTERNS: Final = 3

admin.site.site_header = "Switchboard"
admin.site.site_title = "Switchboard"
admin.site.index_title = "Broker"


class ApiKeyForm(forms.ModelForm[ApiKey]):
    """A key's name, scopes, addresses and end; the key itself is made, never typed."""

    scopes = forms.MultipleChoiceField(choices=Scope.choices, widget=forms.CheckboxSelectMultiple)
    addresses = PatternsField(
        required=False,
        help_text="One in a line: an address, or a prefix of addresses with a final *. Empty: all addresses.",
    )

    class Meta:
        model = ApiKey
        fields = ("name", "scopes", "addresses", "expires_at")


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin[ApiKey]):
    """Keys are shown once, when they are made, and revoked rather than changed."""

    form = ApiKeyForm
    list_display = ("name", "prefix", "scope_list", "limited", "expires_at", "last_used_at", "revoked_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "prefix")
    readonly_fields = ("prefix", "created_at", "last_used_at", "revoked_at")
    actions = ("revoke",)

    @admin.display(description="scopes")
    def scope_list(self, row: ApiKey) -> str:
        """The scopes as one string."""
        return ", ".join(row.scopes)

    @admin.display(description="addresses")
    def limited(self, row: ApiKey) -> str:
        """The first patterns."""
        shown = ", ".join(row.addresses[:SHOWN_PATTERNS])
        return f"{shown}, …" if len(row.addresses) > SHOWN_PATTERNS else shown or "all"

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """Make a new key and show it, this once."""
        if change:
            super().save_model(request, obj, form, change)
            transaction.on_commit(forget)
            return
        row, plain = keys.issue(obj.name, obj.scopes, addresses=obj.addresses, expires_at=obj.expires_at)
        obj.pk, obj.prefix, obj.digest = row.pk, row.prefix, row.digest
        messages.warning(request, f"The key is {plain} - copy it now, it will not be shown again.")

    def delete_model(self, request: HttpRequest, obj: ApiKey) -> None:
        """Delete one key, and have it refused at once."""
        super().delete_model(request, obj)
        transaction.on_commit(forget)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Delete the selected keys, and have them refused at once."""
        super().delete_queryset(request, queryset)
        transaction.on_commit(forget)

    @admin.action(description="Revoke selected keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Make the selected keys invalid."""
        messages.success(request, f"{revoke(queryset)} keys revoked.")


@admin.register(AddressRule)
class AddressRuleAdmin(admin.ModelAdmin[AddressRule]):
    """Which addresses have history; a change holds in every worker within seconds."""

    list_display = ("pattern", "history_size", "history_seconds", "notices", "note")
    list_filter = ("notices",)
    search_fields = ("pattern", "note")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest | None, **kwargs: Any) -> Any:
        """An address may end with a space."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[arg-type]
        if db_field.name == "pattern":
            field.strip = False  # type: ignore[union-attr]
        return field

    def save_model(self, request: HttpRequest, obj: AddressRule, form: Any, change: bool) -> None:
        """Save, and tell."""
        super().save_model(request, obj, form, change)
        transaction.on_commit(tell_rules_changed)

    def delete_model(self, request: HttpRequest, obj: AddressRule) -> None:
        """Delete one rule, and tell."""
        super().delete_model(request, obj)
        transaction.on_commit(tell_rules_changed)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[AddressRule]) -> None:
        """Delete the selected rules, and tell."""
        super().delete_queryset(request, queryset)
        transaction.on_commit(tell_rules_changed)


class ReadOnly(admin.ModelAdmin[Any]):
    """Rows that only the server writes."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody saves a row: one that has gone in between would be back. Actions ask about the list."""
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes."""
        return False


@admin.register(OutboxMessage)
class OutboxMessageAdmin(ReadOnly):
    """Messages that wait for a worker: none for long, unless Redis is out. Their contents are not shown."""

    list_display = fields = readonly_fields = ("id", "created_at")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """One that shall not be published is deleted."""
        return admin.ModelAdmin.has_delete_permission(self, request, obj)


@admin.register(ConnectionRecord)
class ConnectionAdmin(ReadOnly):
    """Connected clients of all workers whose lease holds."""

    list_display = ("id", "protocol", "who", "peer", "worker", "connected_at")
    list_filter = ("protocol",)
    search_fields = ("=id", "peer", "=identity")
    list_select_related = ("worker",)
    fields = ("id", "protocol", "who", "peer", "worker", "connected_at")
    readonly_fields = fields
    actions = ("disconnect",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[ConnectionRecord]:
        """Only connections that are present now; `masked` says whether `request` may not see who."""
        masked = ExpressionWrapper(Q(protocol__in=_hidden(request)), BooleanField())
        return ConnectionRecord.objects.present().select_related("worker").annotate(masked=masked)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Django: a filter in the URL. One on part of an identity would tell what is masked."""
        if lookup.startswith("identity") and _hidden(request):
            return False
        return super().lookup_allowed(lookup, value, request)

    def has_disconnect_permission(self, request: HttpRequest) -> bool:
        """The right to change connections is the right to end them."""
        return self.has_change_permission(request)

    @admin.display(description="who")
    def who(self, row: ConnectionRecord) -> str:
        """The identity, masked where it lets a client in and the operator may not change what does."""
        return masking.mask(row.identity) if getattr(row, "masked", True) else row.identity

    @admin.action(description="Disconnect selected clients", permissions=["disconnect"])
    def disconnect(self, request: HttpRequest, queryset: QuerySet[ConnectionRecord]) -> None:
        """End the selected connections, on whatever worker they are."""
        ids = list(queryset.values_list("id", flat=True))
        for id in ids:
            disconnect_sync(make("connection", id))
        messages.success(request, f"{len(ids)} clients are being disconnected.")


def _hidden(request: HttpRequest) -> list[str]:
    """The protocols whose identities are masked for this operator."""
    access = masking.of_user(request.user)
    return [one.name for one in registered() if masking.hides_identities(access, one.name)]


@admin.register(WorkerRecord)
class WorkerAdmin(ReadOnly):
    """Server processes whose lease holds."""

    list_display = ("id", "host", "pid", "started_at", "renewed_at", "connection_count")
    fields = ("id", "host", "pid", "started_at", "renewed_at")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[WorkerRecord]:
        """Only workers that are alive."""
        return WorkerRecord.objects.alive()

    @admin.display(description="connections")
    def connection_count(self, row: WorkerRecord) -> int:
        """The number of clients that it serves."""
        return row.connections.count()
