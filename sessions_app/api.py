"""REST for operators: `/api/sessions/`. The players' own is in `players.py`."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from routing_app.core.rest.fields import StringField
from routing_app.core.rest.middleware import unavailable
from sessions_app import service
from sessions_app.models import Session
from sessions_app.store import AccountKey


class SessionSerializer(serializers.ModelSerializer[Session]):
    """A session that holds a slot. `connection` and `worker` are empty while no player is connected to it."""

    publisher = serializers.CharField(source="account.publisher.name")
    customer = serializers.CharField(source="account.customer")
    connection = serializers.CharField(source="connection_id")
    worker = serializers.CharField(source="worker_id", allow_null=True)
    last_seen_at = serializers.DateTimeField(help_text="When it was last known to live.")

    class Meta:
        model = Session
        fields = (
            "id",
            "publisher",
            "customer",
            "name",
            "offer_id",
            "tag",
            "content_id",
            "device_id",
            "device_name",
            "device_type",
            "created_at",
            "last_seen_at",
            "connection",
            "worker",
        )
        read_only_fields = fields


class SessionFilter(serializers.Serializer[Any]):
    """The filters of a list."""

    publisher = StringField(required=False, help_text="The publisher's name.")
    customer = StringField(required=False, help_text="The customerId of its token.")
    offer_id = StringField(required=False)
    tag = StringField(required=False)
    connected = serializers.BooleanField(
        required=False, allow_null=True, default=None, help_text="Whether a player is connected to it."
    )


@extend_schema_view(
    list=extend_schema(parameters=[SessionFilter], summary="List live sessions"),
    retrieve=extend_schema(summary="One live session"),
)
class SessionViewSet(ListModelMixin, RetrieveModelMixin, GenericViewSet[Session]):
    """Sessions that hold a slot now. Reading needs the scope read, to end one manage."""

    serializer_class = SessionSerializer
    queryset = Session.objects.none()
    lookup_value_regex = "[0-9a-f-]+"

    def get_queryset(self) -> QuerySet[Session]:
        """Live sessions, oldest first; a list is narrowed by the filters."""
        rows = service.operators_view()
        if self.action != "list":
            return rows
        narrow = SessionFilter(data=self.request.query_params)
        narrow.is_valid(raise_exception=True)
        wanted = narrow.validated_data
        if (connected := wanted.pop("connected")) is not None:
            rows = rows.exclude(connection_id="") if connected else rows.filter(connection_id="")
        columns = {"publisher": "account__publisher__name", "customer": "account__customer"}
        return rows.filter(**{columns.get(name, name): value for name, value in wanted.items()})

    @extend_schema(
        summary="End a session",
        description="Its slot is free at once; its player is told to stop.",
        request=None,
        responses={204: None},
    )
    @action(detail=True, methods=["post"])
    def end(self, request: Request, pk: str | None = None) -> HttpResponse:
        """End one session, on whatever worker its player is."""
        row = self.get_object()
        key = AccountKey(row.account.publisher.name, row.account.customer)
        try:
            ended = service.kill_sync([(key, row.pk)], str(request.user))
        except service.OUTAGE as error:
            return unavailable(request, error)
        if not ended:
            raise NotFound
        return Response(status=204)
