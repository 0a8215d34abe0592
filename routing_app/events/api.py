"""REST of channels for operators, `/api/channels/`. Messages go through `/api/publish`."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Concat
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ModelViewSet

from routing_app.core.access.narrowing import covered
from routing_app.core.rest.auth import addresses_of, check_address
from routing_app.core.rest.fields import StrictModelSerializer
from routing_app.core.rest.views import OfBroker
from routing_app.events import presence
from routing_app.events.models import Channel, Root, acceptable_channel_id
from routing_app.events.wire import ROOT_PATTERN, BadReference, root_of


@extend_schema_field({"type": "string", "pattern": ROOT_PATTERN})
class RootField(serializers.RelatedField[Root, str, Any]):
    """A user by root id, `n::` and 24 hex digits."""

    default_error_messages: ClassVar = {"unknown": "No user has this root id."}

    def to_internal_value(self, data: str) -> Root:
        """The root. Raises ValidationError."""
        try:
            root = Root.objects.filter(hex_id=root_of(str(data))[-24:]).first()
        except BadReference:
            root = None
        if root is None:
            self.fail("unknown")
        return root

    def to_representation(self, value: Any) -> str:
        """The root id."""
        reference: str = value.reference
        return reference


class ChannelSerializer(StrictModelSerializer[Channel]):
    """Rules of a channel, and the number of sockets on it."""

    members = RootField(many=True, queryset=Root.objects.all(), required=False)
    sockets = serializers.SerializerMethodField()

    class Meta:
        model = Channel
        fields = ("channel_id", "who_may_send", "who_may_listen", "members", "note", "sockets")
        extra_kwargs: ClassVar = {"channel_id": {"trim_whitespace": False}}

    def to_representation(self, instance: Channel) -> dict[str, Any]:
        """A channel without a row has no members."""
        if instance._state.adding:
            return {**self._without_row(instance), "sockets": self.get_sockets(instance)}
        return super().to_representation(instance)

    def _without_row(self, channel: Channel) -> dict[str, Any]:
        values = {name: getattr(channel, name) for name in self.Meta.fields[:3]}
        return {**values, "members": [], "note": ""}

    def get_sockets(self, row: Channel) -> int:
        """Sockets on any worker that subscribe to the channel now."""
        counts: dict[str, int] | None = self.context.get("counts")
        if counts is None:
            counts = presence.count_by_channel([row.channel_id])
        return counts.get(row.channel_id, 0)


BODY: Final = {
    "channel_id": "news",
    "who_may_send": "members",
    "who_may_listen": "everyone",
    "members": ["n::65f1c0a9be2d4000000000ab"],
    "note": "the newsroom",
}
CHANNEL_ID = OpenApiParameter("channel_id", str, OpenApiParameter.PATH, description="Id of the channel.")


@extend_schema_view(
    list=extend_schema(summary="List channels with rules or a subscriber"),
    create=extend_schema(summary="Make rules of a channel"),
    retrieve=extend_schema(summary="One channel", parameters=[CHANNEL_ID]),
    update=extend_schema(summary="Change the rules of a channel", parameters=[CHANNEL_ID]),
    partial_update=extend_schema(summary="Change a part of the rules of a channel", parameters=[CHANNEL_ID]),
    destroy=extend_schema(summary="Delete the rules of a channel", parameters=[CHANNEL_ID]),
)
class ChannelViewSet(OfBroker, ModelViewSet[Channel]):
    """Channels: those with rules, and those with a subscriber."""

    serializer_class = ChannelSerializer
    queryset = Channel.objects.prefetch_related("members")
    lookup_field = "channel_id"
    lookup_value_regex = ".+?"
    body_example: ClassVar = BODY
    row_example: ClassVar = {**BODY, "sockets": 3}
    by_address = True

    def get_queryset(self) -> QuerySet[Channel]:
        """Those that the caller's addresses cover."""
        return super().get_queryset().filter(self._covered())

    def _covered(self) -> Q:
        return covered(addresses_of(self.request), Concat(Value(presence.PREFIX), F("channel_id")))

    def get_object(self) -> Channel:
        """The row; a channel that only has subscribers has none, but can be read."""
        channel_id = self.kwargs["channel_id"]
        if not acceptable_channel_id(channel_id):
            raise NotFound
        if (row := self.get_queryset().filter(channel_id=channel_id).first()) is not None:
            return row
        mine = addresses_of(self.request).cover(presence.PREFIX + channel_id)
        if self.action == "retrieve" and mine and presence.count_by_channel([channel_id]):
            return Channel(channel_id=channel_id)
        raise NotFound

    def perform_create(self, serializer: Any) -> None:
        """Make a channel that the caller's addresses cover."""
        check_address(self.request, presence.PREFIX + serializer.validated_data["channel_id"])
        serializer.save()

    def perform_update(self, serializer: Any) -> None:
        """Change it; its id may become one that the caller's addresses cover, too."""
        id = serializer.validated_data.get("channel_id", serializer.instance.channel_id)
        check_address(self.request, presence.PREFIX + id)
        serializer.save()

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Every channel that has rules or a subscriber now, by id."""
        configured = Channel.objects.filter(self._covered()).order_by().values("channel_id")
        live = presence.channel_ids(covered(addresses_of(self.request), "address"))
        ids = configured.union(live).order_by("channel_id")
        page = [found["channel_id"] for found in self.paginate_queryset(ids) or []]
        rows = {row.channel_id: row for row in self.get_queryset().filter(channel_id__in=page)}
        context = {**self.get_serializer_context(), "counts": presence.count_by_channel(page)}
        listed = [rows.get(id) or Channel(channel_id=id) for id in page]
        return self.get_paginated_response(ChannelSerializer(listed, many=True, context=context).data)
