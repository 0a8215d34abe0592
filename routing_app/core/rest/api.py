"""REST: `/api/clients/`, and the answers to paths and bodies that no view takes."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.exceptions import RequestDataTooBig
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.defaults import bad_request, page_not_found
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from routing_app.core.access.masking import shown_identity
from routing_app.core.access.narrowing import reached_by
from routing_app.core.address import make
from routing_app.core.models import ConnectionRecord
from routing_app.core.publishing import disconnect_sync
from routing_app.core.rest import mount
from routing_app.core.rest.auth import addresses_of, check_address, secret_access
from routing_app.core.rest.views import OfBroker


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: as JSON below `/api/`, where programs ask, and else as Django's page."""
    if _is_asked_by_program(request):
        return JsonResponse({"detail": "Not found."}, status=404)
    return page_not_found(request, exception)


def unreadable(request: HttpRequest, exception: Exception) -> HttpResponse:
    """413 for a body that is too large, else 400: as JSON below `/api/`, and else as Django's page."""
    too_large = isinstance(exception, RequestDataTooBig)
    if _is_asked_by_program(request):
        sentence = "The body is too large." if too_large else "The request cannot be read."
        return JsonResponse({"detail": sentence}, status=413 if too_large else 400)
    if too_large:
        return HttpResponse("The body is too large.\n", status=413, content_type="text/plain; charset=utf-8")
    return bad_request(request, exception)


def _is_asked_by_program(request: HttpRequest) -> bool:
    return (mount.below(request.path) or "").startswith("/api/")


class PositionSerializer(serializers.Serializer[Any]):
    """A place in the stream of an address."""

    epoch = serializers.CharField()
    offset = serializers.IntegerField()


class OutcomeSerializer(serializers.Serializer[Any]):
    """`delivered_to` where this process knows all receivers, else `accepted`.

    `positions` are those of its addresses with history; `repeated`: its id had been published before.
    """

    delivered_to = serializers.IntegerField(required=False)
    accepted = serializers.BooleanField(required=False)
    positions = serializers.DictField(child=PositionSerializer(), required=False)
    repeated = serializers.BooleanField(required=False)


class ClientSerializer(serializers.ModelSerializer[ConnectionRecord]):
    """One connected client; an identity that lets a client in is masked for readers."""

    class Meta:
        model = ConnectionRecord
        fields = ("id", "protocol", "identity", "peer", "worker", "connected_at")

    def to_representation(self, instance: ConnectionRecord) -> dict[str, Any]:
        """The row as the caller may see it."""
        access = secret_access(self.context["request"])
        identity = shown_identity(access, instance.protocol, instance.identity)
        return {**super().to_representation(instance), "identity": identity}


class ClientViewSet(OfBroker, ListModelMixin, RetrieveModelMixin, GenericViewSet[ConnectionRecord]):
    """Connected clients of every protocol and worker, those that the caller's addresses reach."""

    by_address = True
    row_example: ClassVar = {
        "id": "5c1f0a9be2d4000000000000",
        "protocol": "chat",
        "identity": "key:shop",
        "peer": "192.0.2.7",
        "worker": "5c1f0a9be2d4",
        "connected_at": "2026-11-29T06:00:00Z",
    }
    serializer_class = ClientSerializer
    lookup_value_regex = "[0-9a-f]+"
    queryset = ConnectionRecord.objects.none()

    def get_queryset(self) -> QuerySet[ConnectionRecord]:
        """Present connections, narrowed by `?protocol=` and `?address=`."""
        rows = ConnectionRecord.objects.present().filter(reached_by(addresses_of(self.request)))
        protocol, address = (self.request.query_params.get(name, "") for name in ("protocol", "address"))
        if protocol:
            rows = rows.filter(protocol=protocol)
        if not address:
            return rows
        check_address(self.request, address)
        return rows.subscribed(address)

    @extend_schema(
        parameters=[
            OpenApiParameter("protocol", str, description="Only clients of this protocol."),
            OpenApiParameter("address", str, description="Only clients that are subscribed to this address."),
        ]
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Clients that are connected now."""
        return super().list(request, *args, **kwargs)

    @extend_schema(
        request=None,
        responses={202: OutcomeSerializer},
        examples=[OpenApiExample("Its answer", {"accepted": True}, response_only=True, status_codes=["202"])],
    )
    @action(detail=True, methods=["post"])
    def disconnect(self, request: Request, pk: str | None = None) -> Response:
        """End one connection, on whatever worker it is."""
        outcome = disconnect_sync(make("connection", self.get_object().pk))
        return Response(outcome.as_json(), status=status.HTTP_202_ACCEPTED)
