"""REST for operators: `/api/sessions/`, the history and the usage. The players' own is in `players.py`."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import (
    OpenApiExample,
    extend_schema,
    extend_schema_serializer,
    extend_schema_view,
)
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.mixins import DestroyModelMixin, ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet, ViewSet

from routing_app.core.audit.calls import about
from routing_app.core.rest import download
from routing_app.core.rest.auth import addresses_of
from routing_app.core.rest.download import Downloads, file_action
from routing_app.core.rest.fields import StringField, TimeField
from routing_app.core.rest.middleware import unavailable
from routing_app.core.rest.views import OfBroker
from sessions_app import service, usage
from sessions_app.access import covered_by
from sessions_app.models import EventKind, Session, SessionEvent
from sessions_app.rows import event_row, live_row, shown
from sessions_app.store import AccountKey
from sessions_app.usage import BadRange, Step

NO_SESSION: Final = "There is no such session."

COLUMNS: Final = {
    "publisher": "account__publisher__name",
    "customer": "account__customer",
    "session": "session_id",
    "from": "at__gte",
    "to": "at__lt",
}
"""The columns of filters that have other names."""

EXAMPLE: Final = {
    "id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "publisher": "demo",
    "customer": "alice",
    "name": "Living room",
    "offer_id": "S123_US",
    "tag": "",
    "content_id": "s1e2",
    "device_name": "Samsung",
    "device_type": "tv",
    "connection": "5c1f0a9be2d4000000000000",
    "worker": "5c1f0a9be2d4",
    "created_at": "2026-11-29T06:00:00Z",
    "bound_at": "2026-11-29T06:00:01Z",
    "seen_at": "2026-11-29T06:00:30Z",
    "expires_at": None,
}


EVENT_EXAMPLE: Final = {
    **EXAMPLE,
    "kind": "taken_over",
    "at": "2026-11-29T06:01:00Z",
    "by": "customer",
    "why": "by Phone",
}


class SessionSerializer(serializers.Serializer[Any]):
    """A session; `connection`, `worker` are empty while no player is connected to it, `expires_at` else."""

    id = serializers.UUIDField()
    publisher = serializers.CharField()
    customer = serializers.CharField()
    name = serializers.CharField()
    offer_id = serializers.CharField()
    tag = serializers.CharField()
    content_id = serializers.CharField()
    device_name = serializers.CharField()
    device_type = serializers.CharField()
    connection = serializers.CharField()
    worker = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    bound_at = serializers.DateTimeField(allow_null=True, help_text="When a player was last connected.")
    seen_at = serializers.DateTimeField(help_text="When it was last known to live.")
    expires_at = serializers.DateTimeField(allow_null=True, help_text="When it ends, unless a player comes.")

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """The row."""
        return live_row(instance)


class EventSerializer(SessionSerializer):
    """What happened to a session, and the session as it was then; of one that was denied, what was wanted."""

    id = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField(allow_null=True)
    seen_at = serializers.DateTimeField(allow_null=True)
    kind = serializers.ChoiceField(EventKind.choices)
    at = serializers.DateTimeField()
    by = serializers.CharField(help_text="player, customer, server, or an operator's name.")
    why = serializers.CharField()

    def to_representation(self, instance: SessionEvent) -> dict[str, Any]:
        """The row."""
        account = instance.account
        row = event_row(instance, account.publisher.name, account.customer)
        return {**row, "kind": instance.kind, "at": shown(instance.at)}


class CustomerSerializer(serializers.Serializer[Any]):
    """A customer of a publisher."""

    publisher = StringField(trim_whitespace=False)
    customer = StringField(trim_whitespace=False)


class EndedSerializer(serializers.Serializer[Any]):
    """How many sessions have ended."""

    ended = serializers.IntegerField()


class StreamFilter(serializers.Serializer[Any]):
    """The filters of both lists."""

    publisher = StringField(required=False, help_text="The publisher's name.")
    customer = StringField(required=False, help_text="The customerId of its token.")
    offer_id = StringField(required=False)
    tag = StringField(required=False)


class SessionFilter(StreamFilter):
    """The filters of live sessions."""

    connected = serializers.BooleanField(
        required=False, allow_null=True, default=None, help_text="Whether a player is connected to it."
    )


class EventFilter(StreamFilter):
    """The filters of the history."""

    session = serializers.UUIDField(required=False, help_text="The id of a session.")
    kind = serializers.ChoiceField(EventKind.choices, required=False)
    by = StringField(required=False, help_text="player, customer, server, or an operator's name.")
    observed = serializers.BooleanField(
        default=False,
        help_text="Yes: instead, what limits that only observe would have refused.",
    )

    def get_fields(self) -> dict[str, Any]:
        """With the two whose names are Python's own words."""
        since = TimeField(required=False, help_text="Not what is older (ISO 8601).")
        until = TimeField(required=False, help_text="Only what is older (ISO 8601).")
        return {**super().get_fields(), "from": since, "to": until}


def _filtered(filter: type[StreamFilter], request: Request) -> dict[str, Any]:
    narrow = filter(data=request.query_params)
    narrow.is_valid(raise_exception=True)
    wanted: dict[str, Any] = narrow.validated_data
    return {COLUMNS.get(name, name): value for name, value in wanted.items()}


@extend_schema_view(
    list=extend_schema(parameters=[SessionFilter], summary="List live sessions"),
    retrieve=extend_schema(summary="One live session"),
    destroy=extend_schema(
        summary="End a session",
        description="Its slot is free at once; its player is told to stop, and closed with 4003.",
    ),
)
class SessionViewSet(
    Downloads, OfBroker, ListModelMixin, RetrieveModelMixin, DestroyModelMixin, GenericViewSet[Session]
):
    """Sessions that hold a slot now. Reading needs the scope read, to end one manage."""

    file = "sessions"

    serializer_class = SessionSerializer
    queryset = Session.objects.none()
    by_address = True
    waits_for_writers = True
    row_example: ClassVar = EXAMPLE
    permissions: ClassVar = {"DELETE": "sessions_app.change_session"}
    lookup_value_regex = "[0-9a-f-]+"

    def get_queryset(self) -> QuerySet[Session]:
        """Live sessions, oldest first; a list is narrowed by the filters."""
        rows = service.operators_view().filter(covered_by(addresses_of(self.request), "pk"))
        if self.detail:
            return rows
        wanted = _filtered(SessionFilter, self.request)
        if (connected := wanted.pop("connected")) is not None:
            rows = rows.filter(worker__isnull=not connected)
        return rows.filter(**wanted)

    def get_object(self) -> Session:
        """The session. Raises NotFound."""
        try:
            return super().get_object()
        except Http404:
            raise NotFound(NO_SESSION) from None

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Any:
        """End one session, on whatever worker its player is."""
        row = self.get_object()
        key = AccountKey(row.account.publisher.name, row.account.customer)
        try:
            ended = service.kill_sync([(key, row.pk)], str(request.user))
        except service.OUTAGE as error:
            return unavailable(request, error)
        if not ended:
            raise NotFound(NO_SESSION)
        return Response(status=204)

    @extend_schema(
        summary="End all sessions of a customer",
        description="Each as by DELETE; `ended` says how many there were.",
        request=CustomerSerializer,
        responses=EndedSerializer,
        examples=[
            OpenApiExample("A customer", {"publisher": "demo", "customer": "alice"}, request_only=True),
            OpenApiExample("Two of them", {"ended": 2}, response_only=True),
        ],
    )
    @action(detail=False, methods=["post"])
    def end(self, request: Request) -> Any:
        """End what the customer plays, on whatever workers."""
        asked = CustomerSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        key = AccountKey(asked.validated_data["publisher"], asked.validated_data["customer"])
        about(request._request, target=key.address, action="end")
        rows = service.operators_view().filter(covered_by(addresses_of(request), "pk"))
        mine = rows.filter(account__publisher__name=key.publisher, account__customer=key.customer)
        try:
            ended = service.kill_sync(
                [(key, id) for id in mine.values_list("pk", flat=True)], str(request.user)
            )
        except service.OUTAGE as error:
            return unavailable(request, error)
        return Response({"ended": ended})

    @download.described("live sessions", SessionFilter, csv_example="id,publisher,customer\r\n", line=EXAMPLE)
    @file_action()
    def download(self, request: Request) -> Any:
        """All of the list, oldest first."""
        return self.as_file(request)


@extend_schema_view(list=extend_schema(parameters=[EventFilter], summary="What has happened to sessions"))
class HistoryViewSet(Downloads, OfBroker, ListModelMixin, GenericViewSet[SessionEvent]):
    """The history of sessions, the newest first; it is kept for SESSIONS_HISTORY_DAYS. The scope is read."""

    file = "session-history"
    serializer_class = EventSerializer
    row_example: ClassVar = EVENT_EXAMPLE
    queryset = SessionEvent.objects.none()
    by_address = True

    def get_queryset(self) -> QuerySet[SessionEvent]:
        """Events, narrowed by the filters."""
        rows = service.history().filter(covered_by(addresses_of(self.request), "session_id"))
        return rows.filter(**_filtered(EventFilter, self.request))

    @download.described("the history", EventFilter, csv_example="id,kind,at\r\n", line=EVENT_EXAMPLE)
    @file_action()
    def download(self, request: Request) -> Any:
        """All of the list, the newest first."""
        return self.as_file(request)


class UsageFilter(serializers.Serializer[Any]):
    """What is asked for."""

    publisher = StringField(default=None, help_text="The publisher's name; all together without it.")
    step = serializers.ChoiceField([step.value for step in Step], default=Step.HOUR.value)

    def get_fields(self) -> dict[str, Any]:
        """With the two whose names are Python's own words."""
        begin = TimeField(help_text="In the first bucket (ISO 8601), not older than the history.")
        end = TimeField(help_text="Just after the last bucket, or in it; at most 2,400 steps after `from`.")
        return {**super().get_fields(), "from": begin, "to": end}


class BucketSerializer(serializers.Serializer[Any]):
    """An hour or a day of UTC: events of each kind, and the most sessions that lived at once."""

    created = serializers.IntegerField()
    denied = serializers.IntegerField(help_text="Refusals; not those of limits that only observe.")
    taken_over = serializers.IntegerField()
    evicted = serializers.IntegerField()
    expired = serializers.IntegerField()
    finished = serializers.IntegerField()
    killed = serializers.IntegerField()
    peak = serializers.IntegerField(help_text="Exact: from beginnings and ends; ends first at one instant.")

    def get_fields(self) -> dict[str, Any]:
        """With the one whose name is a word of Python's own."""
        return {"from": serializers.DateTimeField(), **super().get_fields()}


@extend_schema_serializer(many=False)
class UsageSerializer(serializers.Serializer[Any]):
    """The buckets from that of `from` until `to`, empty ones too."""

    publisher = serializers.CharField(allow_null=True)
    step = serializers.ChoiceField([step.value for step in Step])
    buckets = BucketSerializer(many=True)


USAGE: Final[dict[str, Any]] = {
    "publisher": "demo",
    "step": "hour",
    "buckets": [
        {
            "from": "2026-11-29T06:00:00Z",
            "created": 12,
            "denied": 1,
            "taken_over": 2,
            "evicted": 0,
            "expired": 3,
            "finished": 5,
            "killed": 0,
            "peak": 7,
        }
    ],
}


class UsageViewSet(OfBroker, ViewSet):
    """How much the customers of a publisher have played. It needs the scope read."""

    queryset = SessionEvent.objects.none()
    by_address = True

    @extend_schema(
        operation_id="sessions_usage",
        summary="Sessions by hour or day",
        parameters=[UsageFilter],
        responses=UsageSerializer,
        examples=[OpenApiExample("An hour", USAGE, response_only=True)],
    )
    def list(self, request: Request) -> Response:
        """Events and peaks in buckets that are aligned to UTC."""
        return Response(self._usage(request))

    @download.described(
        "the usage", UsageFilter, csv_example="from,created,denied\r\n", line=USAGE["buckets"][0]
    )
    @file_action()
    def download(self, request: Request) -> Any:
        """All buckets."""
        buckets = self._usage(request)["buckets"]
        return download.answer(request, "session-usage", list(buckets[0]), download.at_once(buckets))

    def _usage(self, request: Request) -> dict[str, Any]:
        asked = UsageFilter(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        wanted = asked.validated_data
        name, step = wanted["publisher"], Step(wanted["step"])
        if name is not None and not service.has_publisher(name):
            raise ValidationError({"publisher": ["There is no publisher of this name."]})
        try:
            starts = usage.starts_of(wanted["from"], wanted["to"], step)
        except BadRange as error:
            raise ValidationError({error.field: [str(error)]}) from None
        buckets = usage.usage(name, starts, step, addresses_of(request))
        shown_buckets = [
            {
                "from": shown(bucket.begins),
                **{kind.value: count for kind, count in zip(usage.COUNTED, bucket.counts, strict=True)},
                "peak": bucket.peak,
            }
            for bucket in buckets
        ]
        return {"publisher": name, "step": step.value, "buckets": shown_buckets}
