"""REST: `/api/rooms/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.filters import SearchFilter
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ModelViewSet

from routing_app.core.models import Scope
from routing_app.core.rest.api import OutcomeSerializer
from routing_app.core.rest.fields import StrictModelSerializer, StringField
from routing_app.rooms import operations
from routing_app.rooms.models import Membership, NamespaceName, Room, check_allowed


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class AllowedField(serializers.JSONField):
    """A list of strings."""


class RoomSerializer(StrictModelSerializer[Room]):
    """A room. NamespaceName and name are set when it is created; `member_count` is of this moment."""

    member_count = serializers.SerializerMethodField()
    allowed = AllowedField(
        required=False,
        validators=[check_allowed],
        help_text="Nicknames, or network addresses of clients, that may join; empty: everybody.",
    )

    class Meta:
        model = Room
        fields = (
            "id",
            "namespace",
            "name",
            "address",
            "member_count",
            "member_limit",
            "allowed",
            "note",
            "created_at",
            "last_used_at",
        )
        read_only_fields = ("address", "created_at", "last_used_at")

    def get_member_count(self, room: Room) -> int:
        """Members now; none in a room that was just made."""
        return int(getattr(room, "member_count", 0))

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The name and namespace, by which clients know a room, stay."""
        if self.instance is not None:
            for field in ("namespace", "name"):
                if attrs.get(field, getattr(self.instance, field)) != getattr(self.instance, field):
                    raise ValidationError({field: ["a room cannot be renamed; delete it and create another"]})
        return attrs


class MemberSerializer(serializers.ModelSerializer[Membership]):
    """One member of a room."""

    protocol = serializers.CharField(source="connection.protocol")
    peer = serializers.CharField(source="connection.peer")
    worker = serializers.CharField(source="connection.worker_id")

    class Meta:
        model = Membership
        fields = ("connection", "nickname", "joined_at", "protocol", "peer", "worker")


class MessageSerializer(serializers.Serializer[Any]):
    """`{"message": <any JSON>, "sender": "..."}`; the sender is the name of the key unless it is given."""

    message = serializers.JSONField(allow_null=True)
    sender = StringField(required=False, max_length=255)


@extend_schema_view(
    list=extend_schema(
        summary="List rooms",
        parameters=[
            OpenApiParameter("namespace", enum=NamespaceName.values, description="Only these rooms.")
        ],
    ),
    create=extend_schema(summary="Create a room before anybody joins"),
    retrieve=extend_schema(summary="One room"),
    update=extend_schema(summary="Change note, limit or allow-list"),
    partial_update=extend_schema(summary="Change note, limit or allow-list"),
    destroy=extend_schema(summary="Delete a room", description="Its members are in it no longer."),
)
class RoomViewSet(ModelViewSet[Room]):
    """Rooms of all namespaces. Reading needs the scope read, publishing publish, the rest manage."""

    serializer_class = RoomSerializer
    queryset = Room.objects.all()
    lookup_value_regex = "[0-9]+"
    filter_backends = (SearchFilter,)
    search_fields = ("name", "note")
    scopes: Mapping[str, str] = {}

    def get_queryset(self) -> QuerySet[Room]:
        """Rooms with their counts; a list is narrowed by `?namespace=`."""
        rows = Room.objects.with_member_count()
        namespace = self.request.query_params.get("namespace")
        if not namespace or self.action != "list":
            return rows
        if namespace not in NamespaceName.values:
            raise ValidationError({"namespace": [f"one of {', '.join(NamespaceName.values)}"]})
        return rows.filter(namespace=namespace)

    def perform_destroy(self, instance: Room) -> None:
        """Delete and empty."""
        operations.delete(Room.objects.filter(pk=instance.pk))

    @extend_schema(summary="Who is in a room", responses=MemberSerializer(many=True))
    @action(detail=True, filter_backends=())
    def members(self, request: Request, pk: str | None = None) -> Response:
        """Members of all workers, in the order in which they joined."""
        rows: QuerySet[Any] = operations.members(self.get_object())
        page: list[Any] = self.paginate_queryset(rows) or []
        return self.get_paginated_response(MemberSerializer(page, many=True).data)

    @extend_schema(summary="Publish to a room", request=MessageSerializer, responses=OutcomeSerializer)
    @action(detail=True, methods=["post"], scopes={"POST": Scope.PUBLISH})
    def publish(self, request: Request, pk: str | None = None) -> Response:
        """Every member receives an EVENT."""
        serializer = MessageSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        room = Room.objects.filter(pk=self.get_object().pk)
        outcome = operations.publish(room, data["message"], data.get("sender") or str(request.user))
        return Response(outcome.as_json())
