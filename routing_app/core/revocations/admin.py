"""Django admin of revocations: a row is added, its end and reason may change, deleting lifts it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from routing_app.core.access import masking
from routing_app.core.models import Revocation
from routing_app.core.models.revocations import NAMED
from routing_app.core.revocations import service
from routing_app.core.revocations.names import Kind


class RevocationForm(forms.ModelForm[Revocation]):
    """The form, by the rules of the service."""

    class Meta:
        model = Revocation
        fields = (*NAMED, "issued_before", "until", "reason")

    def clean(self) -> dict[str, Any]:
        """The fields. Raises ValidationError."""
        super().clean()
        fields = self.cleaned_data
        if self.errors:
            return fields
        if self.instance._state.adding:
            return service.checked(fields)
        if "until" in self.changed_data:
            service.check_until(fields.get("until"))
        return fields


@admin.register(Revocation)
class RevocationAdmin(admin.ModelAdmin[Revocation]):
    """Names that are let in no more; what a row names stays as it was made."""

    form = RevocationForm
    list_display = ("kind", "name", "issued_before", "until", "reason", "created_at")
    search_fields = ("=subject", "=jti", "=token", "=key", "=network", "reason")
    show_full_result_count = False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Django: a filter in the URL. One on part of a token would tell what is masked."""
        return not lookup.startswith(Kind.TOKEN) and super().lookup_allowed(lookup, value, request)

    def get_fields(self, request: HttpRequest, obj: Revocation | None = None) -> Any:
        """All for a new one."""
        if obj is None:
            return [*NAMED, "issued_before", "until", "reason"]
        return ["kind", "name", "issued_before", "until", "reason", "created_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: Revocation | None = None) -> list[str]:
        """Nothing of a new one."""
        return [] if obj is None else ["kind", "name", "issued_before", "created_at"]

    @admin.display(description="revoked")
    def kind(self, row: Revocation) -> str:
        """The column that is filled."""
        return str(row)

    @admin.display(description="name")
    def name(self, row: Revocation) -> str:
        """Its value; a token lets a client in, and would again once the revocation is lifted."""
        value: str = getattr(row, str(row))
        return masking.mask(value) if str(row) == Kind.TOKEN else value

    def save_model(self, request: HttpRequest, obj: Revocation, form: Any, change: bool) -> None:
        """Save, and tell every worker."""
        if change:
            service.save_changed(obj)
        else:
            super().save_model(request, obj, form, change)
            service.tell_made([obj])

    def response_change(self, request: HttpRequest, obj: Revocation) -> HttpResponse:
        """Go on with the row by the id that it has now."""
        request.path = reverse(f"{self.admin_site.name}:core_revocation_change", args=[obj.pk])
        return super().response_change(request, obj)

    def delete_model(self, request: HttpRequest, obj: Revocation) -> None:
        """Lift one revocation."""
        service.lift([obj])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Revocation]) -> None:
        """Lift the selected revocations."""
        service.lift(queryset)
