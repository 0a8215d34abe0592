"""REST: worker processes, `/api/workers/`, and the end of one in order."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.db.models import Count, QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import APIException
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from routing_app.core.audit.calls import about
from routing_app.core.models import Scope, WorkerRecord
from routing_app.core.monitoring.monitor import DRAIN, DRAINING
from routing_app.core.rest.views import OfBroker
from routing_app.core.synchronous import from_sync
from routing_app.core.worker import current_worker

EXAMPLE: Final = {
    "id": "5c1f0a9be2d40f11",
    "host": "broker-1",
    "pid": 4711,
    "started_at": "2026-11-29T06:00:00Z",
    "renewed_at": "2026-11-29T07:12:31.402117Z",
    "connections": 1200,
}
METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST")


class NoAnswer(APIException):
    """The worker hangs, or has ended in this moment."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The worker does not answer."
    default_code = "no_answer"


class WorkerSerializer(serializers.ModelSerializer[WorkerRecord]):
    """One process; `connections` are those that have a row."""

    connections = serializers.IntegerField(source="connection_count", read_only=True)

    class Meta:
        model = WorkerRecord
        fields = ("id", "host", "pid", "started_at", "renewed_at", "connections")


class DrainingSerializer(serializers.Serializer[Any]):
    """The answer of a worker that drains."""

    id = serializers.CharField()
    state = serializers.ChoiceField([DRAINING])


@extend_schema_view(
    list=extend_schema(summary="Workers that serve"), retrieve=extend_schema(summary="One worker")
)
class WorkerViewSet(OfBroker, ListModelMixin, RetrieveModelMixin, GenericViewSet[WorkerRecord]):
    """Worker processes whose lease holds. All of it needs the scope admin."""

    serializer_class = WorkerSerializer
    queryset = WorkerRecord.objects.none()
    lookup_value_regex = "[0-9a-f]+"
    row_example: ClassVar = EXAMPLE
    scopes: ClassVar = dict.fromkeys(METHODS, Scope.ADMIN)
    permissions: ClassVar = {"POST": "core.drain_worker"}

    def get_queryset(self) -> QuerySet[WorkerRecord]:
        """Workers that are alive, the oldest first."""
        rows = WorkerRecord.objects.alive().annotate(connection_count=Count("connections"))
        return rows.order_by("started_at", "id")

    @extend_schema(
        summary="Drain one worker",
        description="It takes no more clients, closes those that it has with 1012 (come back now), and its"
        " process ends, as at SIGTERM. Under `serve` with several WORKERS another one takes its place.",
        request=None,
        responses={202: DrainingSerializer},
        examples=[
            OpenApiExample(
                "It drains",
                {"id": EXAMPLE["id"], "state": DRAINING},
                response_only=True,
                status_codes=["202"],
            )
        ],
    )
    @action(detail=True, methods=["post"])
    def drain(self, request: Request, pk: str | None = None) -> Response:
        """Have one worker end in order."""
        row = self.get_object()
        about(request._request, f"core.workerrecord {row.pk}", "drain")
        if (answer := _drain(row.pk)) is None:
            raise NoAnswer
        return Response({"id": row.pk, "state": answer}, status=status.HTTP_202_ACCEPTED)


@from_sync
async def _drain(worker_id: str) -> str | None:
    """The answer of a worker that was told to end; None without one."""
    worker = current_worker()
    await worker.relay.want([f"worker:{worker.id}"])  # a script that serves nobody receives nothing else
    answer: str | None = await worker.monitor.cluster.ask(worker_id, DRAIN)
    if answer is not None:
        worker.monitor.events.note("worker_drained", "an operator drains it", about=worker_id)
    return answer
