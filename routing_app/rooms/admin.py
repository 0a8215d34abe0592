"""Django admin of rooms: who is in them, a message to them, an end to them."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from routing_app.core import json
from routing_app.rooms import operations
from routing_app.rooms.models import Membership, Room


class MessageForm(forms.Form):
    """The message to send; a string that is JSON is sent as its value."""

    message = forms.CharField(widget=forms.Textarea(attrs={"rows": 6, "cols": 60}))

    def value(self) -> Any:
        """The JSON value, or the string itself."""
        text = self.cleaned_data["message"]
        try:
            return json.loads(text)
        except json.NotJSON:
            return text


class MemberInline(admin.TabularInline[Membership, Room]):
    """Members of all workers, to look at."""

    model = Membership
    verbose_name_plural = "members now"
    fields = readonly_fields = ("nickname", "connection", "peer", "joined_at")
    extra = 0
    can_delete = False
    ordering = ("joined_at", "id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        """Only members that are present."""
        return Membership.objects.present().select_related("connection")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Members join by themselves."""
        return False

    @admin.display(description="address")
    def peer(self, row: Membership) -> str:
        """The network address of the member."""
        return row.connection.peer


@admin.register(Room)
class RoomAdmin(admin.ModelAdmin[Room]):
    """Rooms of all namespaces."""

    list_display = ("name", "namespace", "members", "member_limit", "note", "last_used_at", "created_at")
    list_filter = ("namespace",)
    search_fields = ("name", "note")
    actions = ("send_message", "disconnect_members")
    inlines = (MemberInline,)
    formfield_overrides: ClassVar = {models.JSONField: {"decoder": json.Decoder}}
    fields = ("namespace", "name", "note", "member_limit", "allowed", "created_at", "last_used_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Room]:
        """Rooms with their live member counts."""
        return Room.objects.with_member_count()

    def get_readonly_fields(self, request: HttpRequest, obj: Room | None = None) -> tuple[str, ...]:
        """A room that is there keeps its name: clients know it by that."""
        facts = ("created_at", "last_used_at")
        return facts if obj is None else ("namespace", "name", *facts)

    @admin.display(description="members", ordering="member_count")
    def members(self, row: Room) -> int:
        """The number of members now."""
        return int(getattr(row, "member_count", 0))

    def delete_model(self, request: HttpRequest, obj: Room) -> None:
        """Delete one room; its members are out of it."""
        operations.delete(Room.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Room]) -> None:
        """Delete the selected rooms."""
        operations.delete(_plain(queryset))

    @admin.action(description="Disconnect the members of selected rooms", permissions=["change"])
    def disconnect_members(self, request: HttpRequest, queryset: QuerySet[Room]) -> None:
        """End their connections, on whatever worker they are."""
        rooms = _plain(queryset)
        operations.disconnect(rooms)
        messages.success(request, f"Members of {len(rooms)} rooms are being disconnected.")

    @admin.action(description="Send a message to selected rooms", permissions=["change"])
    def send_message(self, request: HttpRequest, queryset: QuerySet[Room]) -> HttpResponse | None:
        """Ask for the message, then publish it."""
        form = MessageForm(request.POST if "message" in request.POST else None)
        rooms = _plain(queryset)
        if form.is_valid():
            operations.publish(rooms, form.value(), request.user.get_username())
            messages.success(request, f"Sent to {len(rooms)} rooms.")
            return None
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Send a message",
            "form": form,
            "rooms": rooms,
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/rooms/room/send_message.html", context)


def _plain(queryset: QuerySet[Room]) -> QuerySet[Room]:
    """The selected rows without the list's counts and joins."""
    return Room.objects.filter(pk__in=list(queryset.values_list("pk", flat=True)))
