"""Django admin of hooks."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest

from routing_app.core.hooks.notice import tell_hooks_changed
from routing_app.core.models import Hook
from routing_app.core.models.hooks import check_headers


class HeadersField(forms.CharField):
    """Names of headers, one in a line."""

    widget = forms.Textarea(attrs={"rows": 3, "cols": 40, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        """The lines."""
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        """The list. Raises ValidationError."""
        names = (super().to_python(value) or "").split()
        check_headers(names)
        return names


class HookForm(forms.ModelForm[Hook]):
    """A hook; its secret is made, never typed."""

    headers = HeadersField(
        required=False, help_text="Names of headers of the handshake that it is told, one in a line."
    )

    class Meta:
        model = Hook
        fields = ("protocol", "on", "pattern", "url", "timeout", "fail", "headers", "enabled")


@admin.register(Hook)
class HookAdmin(admin.ModelAdmin[Hook]):
    """URLs that are asked before a step is taken; a change holds in every worker within seconds."""

    form = HookForm
    list_display = ("protocol", "on", "pattern", "url", "timeout", "fail", "enabled")
    list_display_links = ("protocol", "on", "pattern")
    list_filter = ("protocol", "on", "fail", "enabled")
    search_fields = ("pattern", "url")

    def save_model(self, request: HttpRequest, obj: Hook, form: Any, change: bool) -> None:
        """Save, and tell; the secret of a new one is shown this once."""
        if not change:
            text = f"Calls are signed with {obj.secret} - copy it now, it will not be shown again."
            messages.warning(request, text)
        super().save_model(request, obj, form, change)
        transaction.on_commit(tell_hooks_changed)

    def delete_model(self, request: HttpRequest, obj: Hook) -> None:
        """Delete one hook, and tell."""
        super().delete_model(request, obj)
        transaction.on_commit(tell_hooks_changed)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Hook]) -> None:
        """Delete the selected hooks, and tell."""
        super().delete_queryset(request, queryset)
        transaction.on_commit(tell_hooks_changed)
