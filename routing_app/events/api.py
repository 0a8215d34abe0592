"""REST of channels for operators, `/api/channels/`. Messages go through `/api/publish`."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ModelViewSet

from routing_app.core.rest.fields import StrictModelSerializer
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


CHANNEL_ID = OpenApiParameter("channel_id", str, OpenApiParameter.PATH, description="Id of the channel.")


@extend_schema_view(
    **{
        name: extend_schema(parameters=[CHANNEL_ID])
        for name in ("retrieve", "update", "partial_update", "destroy")
    }
)
class ChannelViewSet(ModelViewSet[Channel]):
    """Channels: those with rules, and those with a subscriber."""

    serializer_class = ChannelSerializer
    queryset = Channel.objects.prefetch_related("members")
    lookup_field = "channel_id"
    lookup_value_regex = ".+?"

    def get_object(self) -> Channel:
        """The row; a channel that only has subscribers has none, but can be read."""
        channel_id = self.kwargs["channel_id"]
        if not acceptable_channel_id(channel_id):
            raise NotFound
        if (row := self.get_queryset().filter(channel_id=channel_id).first()) is not None:
            return row
        if self.action == "retrieve" and presence.count_by_channel([channel_id]):
            return Channel(channel_id=channel_id)
        raise NotFound

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Every channel that has rules or a subscriber now, by id."""
        configured = Channel.objects.order_by().values("channel_id")
        ids = configured.union(presence.channel_ids()).order_by("channel_id")
        page = [found["channel_id"] for found in self.paginate_queryset(ids) or []]
        rows = {row.channel_id: row for row in self.get_queryset().filter(channel_id__in=page)}
        context = {**self.get_serializer_context(), "counts": presence.count_by_channel(page)}
        listed = [rows.get(id) or Channel(channel_id=id) for id in page]
        return self.get_paginated_response(ChannelSerializer(listed, many=True, context=context).data)
