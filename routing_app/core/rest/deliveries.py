"""REST: deliveries of webhooks, `/api/deliveries/`."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.mixins import RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from routing_app.core.models import Delivery, DeliveryStatus, Scope
from routing_app.core.rest.views import OfBroker
from routing_app.core.webhooks import service


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    """One event on its way to one webhook; `next_at` is null once it has ended."""

    class Meta:
        model = Delivery
        fields = (
            "id",
            "webhook",
            "type",
            "status",
            "attempts",
            "next_at",
            "last_status",
            "last_error",
            "created_at",
        )
        read_only_fields = fields


class DeliveryFilter(serializers.Serializer[Any]):
    """The filter of a list."""

    status = serializers.ChoiceField(DeliveryStatus.choices, required=False)


EXAMPLE: Final = {
    "id": "msg_2aXqkU1f0",
    "webhook": 1,
    "type": "session.created",
    "status": "done",
    "attempts": 1,
    "next_at": None,
    "last_status": 200,
    "last_error": "",
    "created_at": "2026-11-29T06:00:00Z",
}
METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST")


@extend_schema_view(retrieve=extend_schema(summary="One delivery"))
class DeliveryViewSet(OfBroker, RetrieveModelMixin, GenericViewSet[Delivery]):
    """Deliveries of webhooks. All of it needs the scope admin."""

    serializer_class = DeliverySerializer
    queryset = Delivery.objects.all()
    lookup_value_regex = "[0-9a-z_]+"
    row_example: ClassVar = EXAMPLE
    scopes: ClassVar = dict.fromkeys(METHODS, Scope.ADMIN)
    permissions: ClassVar = {"POST": "core.change_webhook"}

    @extend_schema(
        summary="Deliver again",
        description="From the first attempt on, with the same `webhook-id`; one that waits for its next"
        " attempt is sent at once.",
        request=None,
        responses={202: DeliverySerializer},
        examples=[
            OpenApiExample(
                "It waits", {**EXAMPLE, "status": "pending"}, response_only=True, status_codes=["202"]
            )
        ],
    )
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, pk: str | None = None) -> Response:
        """Have it sent once more."""
        row = self.get_object()
        service.replay(row)
        row.refresh_from_db()
        return Response(self.get_serializer(row).data, status=status.HTTP_202_ACCEPTED)
