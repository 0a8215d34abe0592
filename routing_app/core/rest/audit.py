"""REST: `/api/audit`, the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Final

from django.db.models import Q, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from routing_app.core.audit.actor import name_of_key
from routing_app.core.models import ApiKey, AuditEntry, Scope
from routing_app.core.rest.download import Downloads, described, file_action
from routing_app.core.rest.fields import TimeField
from routing_app.core.rest.views import OfBroker

EXACT: Final = ("action", "target")
TIMES: Final = {"since": "at__gte", "until": "at__lt"}
EXAMPLE: Final = {
    "id": 4711,
    "at": "2026-11-29T07:12:31.402117Z",
    "actor": "shop (sb_1f9Qx)",
    "actor_kind": "key",
    "action": "delete",
    "target": "tokens.registeredtoken 17",
    "outcome": "ok",
    "network": "192.0.2.7",
    "request_id": "8f3a1c5be2d0-1a2b",
}


TIME: Final = {"type": "string", "format": "date-time"}
FILTERS: Final = [
    OpenApiParameter("actor", str, description="The whole actor; of API keys the name or the prefix."),
    OpenApiParameter("action", str, description="The whole action."),
    OpenApiParameter("target", str, description="The whole target."),
    OpenApiParameter("since", TIME, description="Not what is older (ISO 8601)."),
    OpenApiParameter("until", TIME, description="Only what is older (ISO 8601)."),
]


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    """One act; `outcome` is `ok`, `failed`, or begins with `refused` or `failed` and has the status."""

    class Meta:
        model = AuditEntry
        fields = (
            "id",
            "at",
            "actor",
            "actor_kind",
            "action",
            "target",
            "outcome",
            "network",
            "request_id",
        )


class AuditViewSet(Downloads, OfBroker, ListModelMixin, GenericViewSet[AuditEntry]):
    """Who did what. It needs the scope admin."""

    file = "audit"
    serializer_class = AuditEntrySerializer
    queryset = AuditEntry.objects.all()
    row_example: ClassVar = EXAMPLE
    scopes: ClassVar = dict.fromkeys(("GET", "HEAD", "OPTIONS"), Scope.ADMIN)

    def get_queryset(self) -> QuerySet[AuditEntry]:
        """Entries, the newest first, narrowed by the filters."""
        rows = super().get_queryset()
        wanted = self.request.query_params
        if actor := wanted.get("actor"):
            rows = rows.filter(actor__in=[actor, *_of_keys(actor)])
        rows = rows.filter(**{name: wanted[name] for name in EXACT if wanted.get(name)})
        for name, condition in TIMES.items():
            if text := wanted.get(name):
                rows = rows.filter(**{condition: _time(name, text)})
        return rows

    @extend_schema(summary="Who did what", parameters=FILTERS)
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Acts of operators, the newest first."""
        return super().list(request, *args, **kwargs)

    @described("the audit log", *FILTERS, csv_example="id,at,actor,actor_kind\r\n", line=EXAMPLE)
    @file_action()
    def download(self, request: Request) -> Any:
        """All of the list, the newest first."""
        return self.as_file(request)


def _of_keys(text: str) -> list[str]:
    """The actors that keys of this name or prefix are."""
    found = ApiKey.objects.filter(Q(name=text) | Q(prefix=text)).order_by().values_list("name", "prefix")
    return [name_of_key(*row) for row in found[:100]]


def _time(name: str, text: str) -> datetime:
    """Raises ValidationError."""
    try:
        at: datetime = TimeField().run_validation(text)
    except ValidationError as error:
        raise ValidationError({name: error.detail}) from None
    return at
