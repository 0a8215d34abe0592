"""Django admin: issuers with their keys, and forms for keys of any signer."""

from __future__ import annotations

from typing import Any, TypeVar

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from routing_app.core.issuers.service import tell_issuers_changed
from routing_app.core.models import Issuer, IssuerKey
from routing_app.core.models.issuers import SigningKey

K = TypeVar("K", bound=SigningKey)
M = TypeVar("M", bound=Model)


class SigningKeyForm(forms.ModelForm[K]):
    """A key; its material is typed, never shown: empty, what is stored stays."""

    material = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false"}),
        help_text="Secret, public key (PEM) or JWKS URL. It is not shown again; leave empty to keep it.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.pop("material", None)

    def clean(self) -> dict[str, Any]:
        """Take what was typed or, where nothing was, what is stored."""
        cleaned = super().clean() or {}
        material = cleaned.get("material", "").strip() or self.instance.material
        if not material:
            self.add_error("material", "A new key needs one.")
        return {**cleaned, "material": material}


class SigningKeyInline(admin.StackedInline[K, M]):
    """The keys of a signer."""

    form = SigningKeyForm  # type: ignore[assignment]  # it is not told which of the models it is for
    extra = 0
    fields = (("kind", "algorithm", "kid", "active"), "material")


class IssuerKeyInline(SigningKeyInline[IssuerKey, Issuer]):
    """The keys of an issuer."""

    model = IssuerKey


class IssuerForm(forms.ModelForm[Issuer]):
    """An issuer; its audiences are typed one a line."""

    audiences = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Accepted `aud` of its tokens, one a line. Empty: tokens have none.",
    )

    class Meta:
        model = Issuer
        fields = ("name", "audiences", "enabled")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["audiences"] = "\n".join(self.instance.audiences)

    def clean_audiences(self) -> list[str]:
        """The lines that are not empty."""
        lines = self.cleaned_data["audiences"].splitlines()
        return [line.strip() for line in lines if line.strip()]


@admin.register(Issuer)
class IssuerAdmin(admin.ModelAdmin[Issuer]):
    """Those who sign access tokens; a change holds in every worker within seconds."""

    form = IssuerForm
    list_display = ("name", "enabled", "created_at")
    list_filter = ("enabled",)
    search_fields = ("name",)
    readonly_fields = ("created_at",)
    inlines = (IssuerKeyInline,)

    def save_model(self, request: HttpRequest, obj: Issuer, form: Any, change: bool) -> None:
        """Save, and tell."""
        super().save_model(request, obj, form, change)
        transaction.on_commit(tell_issuers_changed)

    def delete_model(self, request: HttpRequest, obj: Issuer) -> None:
        """Delete one issuer, and tell."""
        super().delete_model(request, obj)
        transaction.on_commit(tell_issuers_changed)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Issuer]) -> None:
        """Delete the selected issuers, and tell."""
        super().delete_queryset(request, queryset)
        transaction.on_commit(tell_issuers_changed)
