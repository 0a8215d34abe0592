"""Django admin of webhooks and their deliveries."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from routing_app.core.access.pattern_field import LinesField, PatternsField
from routing_app.core.models import Delivery, Webhook
from routing_app.core.webhooks import service
from routing_app.core.webhooks.events import check_events

SHOWN_ONCE: Final = "copy it now, it will not be shown again."
REFUSAL: Final = "webhook_refusal"


class WebhookForm(forms.ModelForm[Webhook]):
    """A webhook; its secret is made, never typed."""

    refusal = ""
    """Why its URL may not be called, as it was found before the transaction of the request."""
    events = LinesField(
        validators=[check_events],
        help_text="One in a line: a type such as session.created, a prefix such as session.*, or *.",
    )
    addresses = PatternsField(
        required=False,
        help_text="For events that have an address. One in a line: an address, or a prefix of addresses with"
        " a final *. Empty: all addresses; message.published needs some.",
    )

    class Meta:
        model = Webhook
        fields = ("name", "url", "events", "addresses", "headers", "enabled")

    def clean_url(self) -> str:
        """The URL. Raises ValidationError for one that may not be called."""
        if self.refusal:
            raise ValidationError(self.refusal)
        url: str = self.cleaned_data["url"]
        return url

    def clean(self) -> dict[str, Any]:
        """The fields. Raises ValidationError."""
        super().clean()
        if not self.errors:
            service.check_addressed(self.cleaned_data["events"], self.cleaned_data["addresses"])
        return self.cleaned_data


@admin.register(Webhook)
class WebhookAdmin(admin.ModelAdmin[Webhook]):
    """URLs that are told of events. A secret is shown once, when it is made."""

    form = WebhookForm
    list_display = ("name", "enabled", "off_because", "failing_since", "event_list", "created_at")
    list_filter = ("enabled",)
    search_fields = ("name", "url")
    readonly_fields = ("failing_since", "off_because", "rotated_at", "created_at")
    actions = ("test", "rotate")

    def get_exclude(self, request: HttpRequest, obj: Webhook | None = None) -> Any:
        """Headers, which may hold a secret, are not for those who only look."""
        if obj is not None and not self.has_change_permission(request, obj):
            return ("headers",)
        return super().get_exclude(request, obj)

    @admin.display(description="events")
    def event_list(self, row: Webhook) -> str:
        """The types as one string."""
        return ", ".join(row.events)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        """Look the name of the URL up here, before the transaction of the request: it may take a while."""
        if request.method == "POST":
            request.__dict__[REFUSAL] = service.refusal_of(request.POST.get("url"))
        return super().changeform_view(request, object_id, form_url, extra_context)

    def get_form(
        self, request: HttpRequest, obj: Webhook | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """The form, told what was found of the URL."""
        form = super().get_form(request, obj, change, **kwargs)
        form.refusal = request.__dict__.get(REFUSAL, "")  # type: ignore[attr-defined]  # of `WebhookForm`
        return form

    def save_model(self, request: HttpRequest, obj: Webhook, form: Any, change: bool) -> None:
        """Save, and tell; the secret of a new one is shown, this once."""
        fields = {name: form.cleaned_data[name] for name in form.changed_data}
        service.prepare(obj, fields)
        if change:
            # Only these: the server may have written others in the meantime.
            obj.save(
                update_fields=[*fields, *(("failing_since", "off_because") if fields.get("enabled") else ())]
            )
        else:
            super().save_model(request, obj, form, change)
            messages.warning(request, f"The secret is {obj.secret} - {SHOWN_ONCE}")
        service.tell_changed()

    def delete_model(self, request: HttpRequest, obj: Webhook) -> None:
        """Delete one webhook, and tell."""
        super().delete_model(request, obj)
        service.tell_changed()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Webhook]) -> None:
        """Delete the selected webhooks, and tell."""
        super().delete_queryset(request, queryset)
        service.tell_changed()

    @admin.action(description="Send a test", permissions=["change"])
    def test(self, request: HttpRequest, queryset: QuerySet[Webhook]) -> None:
        """Have a test delivered to each that is on."""
        on = list(queryset.filter(enabled=True))
        for row in on:
            service.test(row)
        messages.success(request, f"{len(on)} tests are being delivered.")

    @admin.action(
        description="Make new secrets; the old ones sign, too, for 24 hours", permissions=["change"]
    )
    def rotate(self, request: HttpRequest, queryset: QuerySet[Webhook]) -> None:
        """Make a new secret for each, and show it, this once."""
        for row in queryset:
            messages.warning(request, f"The secret of {row} is {service.rotate(row)} - {SHOWN_ONCE}")


@admin.register(Delivery)
class DeliveryAdmin(admin.ModelAdmin[Delivery]):
    """Events on their way, and what came of them. Their bodies are not shown."""

    list_display = ("id", "webhook", "type", "status", "attempts", "last_status", "last_error", "created_at")
    list_filter = ("status", "webhook")
    list_select_related = ("webhook",)
    search_fields = ("=id", "=type")
    fields = readonly_fields = (*list_display, "next_at", "ended_at")
    actions = ("replay",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Delivery | None = None) -> bool:
        """Nobody saves one. Who may change webhooks may have theirs sent again."""
        return obj is None and request.user.has_perm("core.change_webhook")

    @admin.action(description="Deliver again", permissions=["change"])
    def replay(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        """Have the selected deliveries sent once more."""
        count = 0
        for row in queryset:
            service.replay(row)
            count += 1
        messages.success(request, f"{count} deliveries are being sent again.")
