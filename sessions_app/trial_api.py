"""REST for operators: who plays now by publisher, what limits would refuse now, and which are reached."""

from __future__ import annotations

from typing import Any, Final

from django.http import Http404
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from routing_app.core.rest.fields import StringField
from routing_app.core.rest.views import OfBroker
from sessions_app import trial
from sessions_app.models import POLICIES, SCOPES, Publisher, Session
from sessions_app.publishers_api import LIMIT_EXAMPLE, PUBLISHER
from sessions_app.rows import shown
from sessions_app.trial import Pool
from sessions_app.wire import MAX_STRING, Wanted

MOST: Final = 50
"""Reached limits of one answer."""
SESSION_EXAMPLE: Final = {
    "id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "name": "Living room",
    "created_at": "2026-11-29T06:00:00Z",
}
POOL_EXAMPLE: Final = {"limit": 1, **LIMIT_EXAMPLE, "subject": "S123_US", "held": 2, "full": True}


class PoolSerializer(serializers.Serializer[Any]):
    """A limit that concerns the session, and the sessions that count in it."""

    limit = serializers.IntegerField(help_text="Its id.")
    scope = serializers.ChoiceField(SCOPES)
    value = serializers.CharField()
    customer = serializers.CharField()
    maximum = serializers.IntegerField()
    policy = serializers.ChoiceField(POLICIES)
    observe_only = serializers.BooleanField()
    subject = serializers.CharField(help_text="The offer, tag and so on that it counts; empty: all.")
    held = serializers.IntegerField(help_text="Sessions that count in it now.")
    full = serializers.BooleanField(help_text="Whether one more is refused, or ends another.")


class HeldSerializer(serializers.Serializer[Any]):
    """A session that counts, or would end."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    created_at = serializers.DateTimeField()


@extend_schema_serializer(many=False)
class TrialSerializer(serializers.Serializer[Any]):
    """The answer to one more session, as it would be decided now."""

    publisher = serializers.CharField()
    customer = serializers.CharField()
    enabled = serializers.BooleanField(help_text="No: tracking is off, and everybody plays.")
    allowed = serializers.BooleanField()
    refused_by = serializers.IntegerField(allow_null=True, help_text="The id of a limit.")
    why = serializers.CharField(help_text="As the customer is told.")
    take_over = serializers.BooleanField(help_text="Whether a takeover would be offered.")
    counted = HeldSerializer(many=True, help_text="Sessions that count in the limit that refuses.")
    evicted = HeldSerializer(many=True, help_text="Sessions that would end for it.")
    again = HeldSerializer(allow_null=True, help_text="The device has this session, and gets it again.")
    observed = serializers.ListField(
        child=serializers.IntegerField(), help_text="Ids of limits that only observe, and would refuse."
    )
    limits = PoolSerializer(many=True)


TRIAL_EXAMPLE: Final = {
    "publisher": "demo",
    "customer": "alice",
    "enabled": True,
    "allowed": False,
    "refused_by": 1,
    "why": "limit of 2 for offer S123_US",
    "take_over": True,
    "counted": [SESSION_EXAMPLE],
    "evicted": [],
    "again": None,
    "observed": [],
    "limits": [POOL_EXAMPLE],
}


class TrialFilter(serializers.Serializer[Any]):
    """The session that is asked about, as in `POST /sessions`; one of `offer_id` and `tag` is there."""

    customer = StringField(max_length=MAX_STRING, trim_whitespace=False)
    offer_id = StringField(max_length=MAX_STRING, trim_whitespace=False, required=False)
    tag = StringField(max_length=MAX_STRING, trim_whitespace=False, required=False)
    content_id = StringField(max_length=MAX_STRING, trim_whitespace=False, required=False)
    device_id = StringField(max_length=MAX_STRING, trim_whitespace=False, required=False)
    device_type = StringField(max_length=MAX_STRING, trim_whitespace=False, required=False)

    def to_internal_value(self, data: Any) -> Any:
        """What is given; empty is not given, as a form sends it."""
        return super().to_internal_value({name: value for name, value in data.items() if value})

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raise ValidationError where it is not said what is wanted."""
        if not attrs.get("offer_id") and not attrs.get("tag"):
            raise serializers.ValidationError({"offer_id": "expected an offer, or a tag"})
        return attrs


class OfLimits(OfBroker, ViewSet):
    """What is asked of the limits of one publisher."""

    queryset = Session.objects.none()

    def publisher(self) -> Publisher:
        """The publisher of the path. Raises Http404."""
        row = Publisher.objects.filter(name=self.kwargs["publisher"]).first()
        if row is None:
            raise Http404
        return row


class TryViewSet(OfLimits):
    """A create that is decided and not done. The scope is read."""

    @extend_schema(
        operation_id="limits_try",
        summary="What limits would say to one more session now",
        description="Decided as `POST /sessions` is, and nothing is changed or written down. A create may be"
        " answered otherwise where players that count do not answer any more, since these are ended first;"
        " hooks, revocations and rate limits are not asked.",
        parameters=[PUBLISHER, TrialFilter],
        responses=TrialSerializer,
        examples=[OpenApiExample("It would be refused", TRIAL_EXAMPLE, response_only=True)],
    )
    def list(self, request: Request, publisher: str) -> Response:
        """The decision."""
        of = self.publisher()
        asked = TrialFilter(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        wanted = dict(asked.validated_data)
        customer = wanted.pop("customer")
        found = trial.try_create(of, customer, Wanted(**wanted))
        return Response(
            {
                "publisher": of.name,
                "customer": customer,
                "enabled": of.tracking_enabled,
                "allowed": found.refused is None,
                "refused_by": found.refused,
                "why": found.why,
                "take_over": found.take_over,
                "counted": [_held(one) for one in found.counted],
                "evicted": [_held(one) for one in found.evicted],
                "again": None if found.again is None else _held(found.again),
                "observed": list(found.observed),
                "limits": [_pool(pool) for pool in found.pools],
            }
        )


class ReachedSerializer(PoolSerializer):
    """A limit that leaves a customer no room."""

    customer = serializers.CharField(help_text="The customer that has reached it.")
    denied = serializers.IntegerField(help_text="Refusals of this customer within 24 hours.")


class OfLimitSerializer(serializers.Serializer[Any]):
    """One limit."""

    limit = serializers.IntegerField(help_text="Its id.")
    reached = serializers.IntegerField(help_text="How often it leaves a customer no room now.")


@extend_schema_serializer(many=False)
class ReachedListSerializer(serializers.Serializer[Any]):
    """All limits of a publisher, and customers that have reached one."""

    limits = OfLimitSerializer(many=True)
    customers = ReachedSerializer(many=True)


REACHED_EXAMPLE: Final = {
    "limits": [{"limit": 1, "reached": 1}],
    "customers": [{**POOL_EXAMPLE, "customer": "alice", "denied": 3}],
}


class ReachedViewSet(OfLimits):
    """Customers at their limit. The scope is read."""

    @extend_schema(
        operation_id="limits_reached",
        summary="Limits that are reached now",
        description=f"The first {MOST}: customers that were refused most in 24 hours, then those that play"
        " most.",
        parameters=[PUBLISHER],
        responses=ReachedListSerializer,
        examples=[OpenApiExample("A customer", REACHED_EXAMPLE, response_only=True)],
    )
    def list(self, request: Request, publisher: str) -> Response:
        """Limits, and customers."""
        numbers, full = trial.full_pools(self.publisher(), MOST)
        return Response(
            {
                "limits": [{"limit": id, "reached": number} for id, number in numbers.items()],
                "customers": [
                    {**_pool(one.pool), "customer": one.customer, "denied": one.denied} for one in full
                ],
            }
        )


class TotalSerializer(serializers.Serializer[Any]):
    """The sessions of a publisher now."""

    publisher = serializers.CharField()
    sessions = serializers.IntegerField()
    customers = serializers.IntegerField(help_text="Who have at least one.")
    connected = serializers.IntegerField(help_text="Sessions that a player is connected to.")


@extend_schema_serializer(many=False)
class TotalsSerializer(serializers.Serializer[Any]):
    """Of all publishers."""

    publishers = TotalSerializer(many=True)


TOTALS_EXAMPLE: Final = {
    "publishers": [{"publisher": "demo", "sessions": 12, "customers": 7, "connected": 11}]
}


class TotalsViewSet(OfBroker, ViewSet):
    """How many sessions there are. The scope is read."""

    queryset = Session.objects.none()

    @extend_schema(
        operation_id="sessions_totals",
        summary="How many sessions each publisher has now",
        responses=TotalsSerializer,
        examples=[OpenApiExample("A publisher", TOTALS_EXAMPLE, response_only=True)],
    )
    def list(self, request: Request) -> Response:
        """Numbers."""
        rows = [
            {
                "publisher": one.publisher,
                "sessions": one.sessions,
                "customers": one.customers,
                "connected": one.connected,
            }
            for one in trial.totals()
        ]
        return Response({"publishers": rows})


def _held(session: Session) -> dict[str, Any]:
    return {
        "id": str(session.pk),
        "name": session.display_name,
        "created_at": shown(session.created_at),
    }


def _pool(pool: Pool) -> dict[str, Any]:
    rule = pool.rule
    return {
        "limit": pool.limit,
        "scope": rule.scope.value,
        "value": rule.value,
        "customer": rule.customer,
        "maximum": rule.maximum,
        "policy": rule.policy.value,
        "observe_only": rule.observe_only,
        "subject": pool.subject,
        "held": pool.held,
        "full": pool.is_full,
    }
