"""Django admin of the events protocol: users with their roots, login tokens, channels; send and revoke."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from routing_app.core.admin import ReadOnly
from routing_app.core.json import Decoder
from routing_app.events import presence
from routing_app.events.credentials import revoke
from routing_app.events.models import Channel, LoginToken, Root
from routing_app.events.notifier import notify_channels, notify_users


class SendForm(forms.Form):
    """The message, as JSON."""

    message = forms.JSONField(
        decoder=Decoder,
        widget=forms.Textarea(attrs={"rows": 6, "cols": 80}),
        help_text='JSON, {"type": "chat"} say.',
    )


class Verbatim(forms.CharField):
    """A string whose blanks count."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs | {"strip": False})


class SendToChannelForm(SendForm):
    """The same to any channel, whether it has a row or not."""

    channel_id = Verbatim(max_length=255)
    field_order = ("channel_id", "message")


class ChannelForm(forms.ModelForm[Channel]):
    """A channel's id is what sockets ask for, blanks at its ends included."""

    class Meta:
        model = Channel
        fields = ("channel_id", "who_may_send", "who_may_listen", "members", "note")
        field_classes: ClassVar = {"channel_id": Verbatim}


def _send_page(request: HttpRequest, form: forms.Form, title: str, explanation: str) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": title,
        "form": form,
        "explanation": explanation,
    }
    return TemplateResponse(request, "events/send.html", context)


class OfUser(ReadOnly):
    """Rows that belong to a user: they go when the user is deleted, and not before."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """On the pages that delete a user, for staff that may do that."""
        user = get_user_model()._meta
        here = request.resolver_match.url_name if request.resolver_match else None
        pages = {f"{user.app_label}_{user.model_name}_{page}" for page in ("delete", "changelist")}
        return here in pages and super(ReadOnly, self).has_delete_permission(request, obj)


@admin.register(Root)
class RootAdmin(OfUser):
    """Users with their roots, their channels now, and actions on them."""

    list_display = ("user", "email", "reference", "sockets", "valid_tokens")
    search_fields = ("hex_id", "user__username", "user__email")
    list_select_related = ("user",)
    fields = ("user", "email", "reference", "sockets", "channel_list", "valid_tokens")
    readonly_fields = fields
    actions = ("send", "revoke_tokens")

    def get_urls(self) -> list[URLPattern]:
        """The admin's own, and the page for a message."""
        view = self.admin_site.admin_view(self.send_view)
        return [path("send/", view, name="events_root_send"), *super().get_urls()]

    @admin.display(description="e-mail")
    def email(self, row: Root) -> str:
        """The user's address."""
        return row.user.email

    @admin.display(description="live sockets")
    def sockets(self, row: Root) -> int:
        """Sockets on all workers."""
        return presence.sockets_of(row.reference).count()

    @admin.display(description="live channels")
    def channel_list(self, row: Root) -> str:
        """Channels that the user's sockets subscribe to."""
        return ", ".join(presence.channels_of(row.reference)) or "-"

    @admin.display(description="valid login tokens")
    def valid_tokens(self, row: Root) -> int:
        """Tokens that are neither revoked nor expired."""
        return LoginToken.objects.valid().filter(user=row.user_id).count()

    @admin.action(description="Send a message to selected users", permissions=["change"])
    def send(self, request: HttpRequest, queryset: QuerySet[Root]) -> HttpResponse:
        """Go to the page where it is written."""
        ids = ",".join(str(row.pk) for row in queryset)
        return HttpResponseRedirect(f"{reverse('admin:events_root_send')}?ids={ids}")

    def send_view(self, request: HttpRequest) -> HttpResponse:
        """Write a message and send it to the users in `?ids=`."""
        if not self.has_change_permission(request):
            return HttpResponse(status=403)
        ids = [int(text) for text in request.GET.get("ids", "").split(",") if text.isdecimal()]
        roots = [row.reference for row in Root.objects.filter(pk__in=ids)]
        form = SendForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            notify_users(roots, form.cleaned_data["message"])
            messages.success(request, f"Sent to {len(roots)} users.")
            return HttpResponseRedirect(reverse("admin:events_root_changelist"))
        return _send_page(request, form, "Send a message", f"To all sockets of {len(roots)} users.")

    @admin.action(description="Revoke all login tokens of selected users", permissions=["change"])
    def revoke_tokens(self, request: HttpRequest, queryset: QuerySet[Root]) -> None:
        """Void their tokens; their sockets learn it at once."""
        tokens = LoginToken.objects.filter(user__in=queryset.values("user"))
        messages.success(request, f"{revoke(tokens, 'by an operator')} tokens revoked.")


@admin.register(LoginToken)
class LoginTokenAdmin(OfUser):
    """Login tokens; the tokens themselves are not kept."""

    list_display = ("jti", "user", "issued_at", "expires_at", "revoked_at", "revoked_because")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("=jti", "user__username", "user__email")
    list_select_related = ("user",)
    fields = list_display
    readonly_fields = list_display
    actions = ("revoke",)

    @admin.action(description="Revoke selected tokens", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[LoginToken]) -> None:
        """Void the selected tokens."""
        messages.success(request, f"{revoke(queryset, 'by an operator')} tokens revoked.")


@admin.register(Channel)
class ChannelAdmin(admin.ModelAdmin[Channel]):
    """Rules of channels; a channel without a row is as the settings say."""

    form = ChannelForm
    list_display = ("channel_id", "who_may_send", "who_may_listen", "sockets", "note")
    list_filter = ("who_may_send", "who_may_listen")
    search_fields = ("channel_id", "note")
    autocomplete_fields = ("members",)
    actions = ("send",)

    def get_urls(self) -> list[URLPattern]:
        """The admin's own, and the page for a message."""
        view = self.admin_site.admin_view(self.send_view)
        return [path("send/", view, name="events_channel_send"), *super().get_urls()]

    @admin.display(description="live sockets")
    def sockets(self, row: Channel) -> int:
        """Sockets on all workers."""
        return presence.count_by_channel([row.channel_id]).get(row.channel_id, 0)

    @admin.action(description="Send a message to a channel", permissions=["change"])
    def send(self, request: HttpRequest, queryset: QuerySet[Channel]) -> HttpResponse:
        """Go to the page where it is written; the first of the selected channels is filled in."""
        first = queryset.values_list("pk", flat=True)[0]
        return HttpResponseRedirect(f"{reverse('admin:events_channel_send')}?row={first}")

    def send_view(self, request: HttpRequest) -> HttpResponse:
        """Write a message and send it to a channel."""
        if not self.has_change_permission(request):
            return HttpResponse(status=403)
        row = request.GET.get("row", "")
        chosen = Channel.objects.filter(pk=int(row)).first() if row.isdecimal() else None
        initial = {"channel_id": chosen.channel_id} if chosen else {}
        form = SendToChannelForm(request.POST or None, initial=initial)
        if request.method == "POST" and form.is_valid():
            notify_channels([form.cleaned_data["channel_id"]], form.cleaned_data["message"])
            messages.success(request, "Sent.")
            return HttpResponseRedirect(reverse("admin:events_channel_changelist"))
        return _send_page(request, form, "Send to a channel", "To all sockets on it, on every worker.")
