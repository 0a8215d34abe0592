"""Django admin of registered tokens.

A token is a credential: an operator who may change tokens sees it, others see it masked, as messages and the
history of changes show it to all.
"""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from routing_app.core.access.masking import mask
from routing_app.tokens import service, wire
from routing_app.tokens.models import RegisteredToken, Source


class TokenForm(forms.ModelForm[RegisteredToken]):
    """A token to add; later only whether it is enabled, and its note."""

    class Meta:
        model = RegisteredToken
        fields = ("token", "enabled", "note")

    def clean_token(self) -> str:
        """The token as it will be known."""
        try:
            return wire.check_registrable(self.cleaned_data["token"])
        except wire.TokenWireError as error:
            raise forms.ValidationError(str(error)) from None


class ManyForm(forms.Form):
    """A pasted list."""

    tokens = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 16, "cols": 60}), help_text="One token a line, or with commas."
    )
    note = forms.CharField(required=False, max_length=255, help_text="For all of them.")

    def entries(self) -> list[str]:
        """The entries between commas and line ends."""
        found = re.split(r"[,\r\n]+", self.cleaned_data["tokens"])
        return [entry for entry in found if entry.strip()]


@admin.register(RegisteredToken)
class TokenAdmin(admin.ModelAdmin[RegisteredToken]):
    """Everything that is changed here goes through the service, so it revokes as the API does."""

    form = TokenForm
    list_filter = ("enabled", "source", "disabled_by")
    date_hierarchy = "created_at"
    actions = ("enable", "disable", "disconnect")
    change_list_template = "admin/tokens/registeredtoken/change_list.html"

    @admin.display(description="token", ordering="token")
    def masked(self, row: RegisteredToken) -> str:
        """Enough to recognise a token by."""
        return mask(row.token)

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """The columns of the list."""
        facts = ("enabled", "disabled_by", "source", "note", "created_at", "changed_at")
        return (self._token(request), *facts)

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        """A search in tokens would tell their characters to an operator who sees them masked."""
        return ("token", "note") if self.has_change_permission(request) else ("note",)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Django: a filter in the URL. One on part of a token would tell what is masked."""
        if lookup.startswith("token") and not self.has_change_permission(request):
            return False
        return super().lookup_allowed(lookup, value, request)

    def get_readonly_fields(
        self, request: HttpRequest, obj: RegisteredToken | None = None
    ) -> tuple[str, ...]:
        """A token that is there cannot become another one."""
        facts = ("disabled_by", "source", "created_at", "changed_at")
        return facts if obj is None else (self._token(request), *facts)

    def get_fields(self, request: HttpRequest, obj: RegisteredToken | None = None) -> tuple[str, ...]:
        """Source and times are shown only where there is a row."""
        if obj is None:
            return ("token", "enabled", "note")
        facts = ("disabled_by", "source", "created_at", "changed_at")
        return (self._token(request), "enabled", "note", *facts)

    def _token(self, request: HttpRequest) -> str:
        """The column of the token as this operator may see it."""
        return "token" if self.has_change_permission(request) else "masked"

    def save_model(self, request: HttpRequest, obj: RegisteredToken, form: Any, change: bool) -> None:
        """Add or change one token."""
        if change:
            service.change(RegisteredToken.objects.get(pk=obj.pk), Source.ADMIN, obj.enabled, obj.note)
        else:
            obj.pk = service.add(obj.token, Source.ADMIN, obj.enabled, obj.note).pk

    def delete_model(self, request: HttpRequest, obj: RegisteredToken) -> None:
        """Remove one token."""
        service.remove(RegisteredToken.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[RegisteredToken]) -> None:
        """Remove the selected tokens."""
        service.remove(RegisteredToken.objects.filter(pk__in=queryset.values("pk")))

    # --- actions -----------------------------------------------------------------------------------------

    @admin.action(description="Enable selected tokens", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[RegisteredToken]) -> None:
        """Let them connect."""
        messages.success(request, f"{service.enable(_all(queryset))} tokens enabled.")

    @admin.action(description="Disable selected tokens", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[RegisteredToken]) -> None:
        """End their connections and keep them out, if only registered tokens may connect."""
        messages.success(request, f"{service.disable(_all(queryset), Source.ADMIN)} tokens disabled.")

    @admin.action(description="Disconnect the clients of selected tokens", permissions=["change"])
    def disconnect(self, request: HttpRequest, queryset: QuerySet[RegisteredToken]) -> None:
        """End their connections now; they may come back."""
        messages.success(
            request, f"Clients of {service.disconnect(_all(queryset))} tokens are being disconnected."
        )

    # --- many at once -------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """The page for many tokens beside the stock ones."""
        many = path("add-many/", self.admin_site.admin_view(self.add_many), name="tokens_add_many")
        return [many, *super().get_urls()]

    def add_many(self, request: HttpRequest) -> HttpResponse:
        """Take a pasted list and say what became of each entry."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ManyForm(request.POST or None)
        outcome = None
        if form.is_valid():
            outcome = service.register_many(form.entries(), Source.ADMIN, form.cleaned_data["note"])
            form = ManyForm()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Add many tokens",
            "form": form,
            "outcome": outcome,
        }
        return TemplateResponse(request, "admin/tokens/registeredtoken/add_many.html", context)


def _all(queryset: QuerySet[RegisteredToken]) -> QuerySet[RegisteredToken]:
    """The selected rows without the list's order and joins, as updates want them."""
    return RegisteredToken.objects.filter(pk__in=list(queryset.values_list("pk", flat=True)))
