"""REST: `/api/rooms/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from django.db.models import F, QuerySet, Value
from django.db.models.functions import Concat
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    extend_schema,
    extend_schema_field,
    extend_schema_view,
)
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.filters import SearchFilter
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ModelViewSet

from routing_app.core.access.narrowing import covered
from routing_app.core.access.staff import PUBLISH
from routing_app.core.models import Scope
from routing_app.core.rest.api import OutcomeSerializer
from routing_app.core.rest.auth import addresses_of, check_address
from routing_app.core.rest.fields import StrictModelSerializer, StringField
from routing_app.core.rest.views import OfBroker
from routing_app.rooms import operations
from routing_app.rooms.models import Membership, NamespaceName, Room, address, check_allowed

BODY: Final = {"namespace": "bus", "name": "one", "member_limit": 100, "allowed": ["ann"], "note": "chat"}
MEMBER: Final = {
    "connection": "5c1f0a9be2d4000000000000",
    "nickname": "ann",
    "joined_at": "2026-11-29T06:00:00Z",
    "protocol": "rooms",
    "peer": "192.0.2.7",
    "worker": "5c1f0a9be2d4",
}


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
class RoomViewSet(OfBroker, ModelViewSet[Room]):
    """Rooms of all namespaces. Reading needs the scope read, publishing publish, the rest manage."""

    serializer_class = RoomSerializer
    queryset = Room.objects.all()
    lookup_value_regex = "[0-9]+"
    body_example: ClassVar = BODY
    row_example: ClassVar = {
        "id": 1,
        **BODY,
        "address": "room:bus/one",
        "member_count": 2,
        "created_at": "2026-11-29T06:00:00Z",
        "last_used_at": "2026-11-29T06:00:00Z",
    }
    filter_backends = (SearchFilter,)
    search_fields = ("name", "note")
    by_address = True
    scopes: Mapping[str, str] = {}
    permissions: Mapping[str, str] = {}

    def get_queryset(self) -> QuerySet[Room]:
        """Rooms with their counts; a list is narrowed by `?namespace=`."""
        own = Concat(Value("room:"), F("namespace"), Value("/"), F("name"))
        mine = covered(addresses_of(self.request), own)
        # Rows that are grouped have no order of their own.
        rows = Room.objects.filter(mine).with_member_count().order_by("namespace", "name")
        namespace = self.request.query_params.get("namespace")
        if not namespace or self.action != "list":
            return rows
        if namespace not in NamespaceName.values:
            raise ValidationError({"namespace": [f"one of {', '.join(NamespaceName.values)}"]})
        return rows.filter(namespace=namespace)

    def perform_create(self, serializer: Any) -> None:
        """Create a room that the caller's addresses cover."""
        named = serializer.validated_data
        check_address(self.request, address(named["namespace"], named["name"]))
        serializer.save()

    def perform_destroy(self, instance: Room) -> None:
        """Delete and empty."""
        operations.delete(Room.objects.filter(pk=instance.pk))

    @extend_schema(
        summary="Who is in a room",
        responses=MemberSerializer(many=True),
        examples=[OpenApiExample("A member", MEMBER, response_only=True)],
    )
    @action(detail=True, filter_backends=())
    def members(self, request: Request, pk: str | None = None) -> Response:
        """Members of all workers, in the order in which they joined."""
        rows: QuerySet[Any] = operations.members(self.get_object())
        page: list[Any] = self.paginate_queryset(rows) or []
        return self.get_paginated_response(MemberSerializer(page, many=True).data)

    @extend_schema(
        summary="Publish to a room",
        request=MessageSerializer,
        responses=OutcomeSerializer,
        examples=[
            OpenApiExample("A message", {"message": "hello", "sender": "shop"}, request_only=True),
            OpenApiExample("Its answer", {"delivered_to": 2}, response_only=True),
        ],
    )
    @action(detail=True, methods=["post"], scopes={"POST": Scope.PUBLISH}, permissions={"POST": PUBLISH})
    def publish(self, request: Request, pk: str | None = None) -> Response:
        """Every member receives an EVENT."""
        serializer = MessageSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        room = Room.objects.filter(pk=self.get_object().pk)
        outcome = operations.publish(room, data["message"], data.get("sender") or str(request.user))
        return Response(outcome.as_json())
