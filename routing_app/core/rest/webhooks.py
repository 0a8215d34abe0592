"""REST: `/api/webhooks/`, URLs that are told of events."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar, Final

from django.core.exceptions import ValidationError as Invalid
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from routing_app.core.access.grants import Grant
from routing_app.core.access.patterns import MAX_LENGTH, MAX_PATTERNS, check_patterns
from routing_app.core.models import Webhook
from routing_app.core.rest.deliveries import EXAMPLE as DELIVERY
from routing_app.core.rest.deliveries import DeliveryFilter, DeliverySerializer
from routing_app.core.rest.fields import StrictModelSerializer, StringField
from routing_app.core.rest.known_rows import NO_STORE, RowsWithSecret
from routing_app.core.webhooks import service
from routing_app.core.webhooks.events import MAX_EVENTS, check_events
from routing_app.core.webhooks.notice import tell_webhooks_changed
from routing_app.core.webhooks.states import RECENT, states

EXAMPLE: Final = {
    "name": "shop",
    "url": "https://shop.example.com/events",
    "events": ["session.*", "message.published"],
    "addresses": ["room:bus/*"],
    "headers": {"Authorization": "Bearer 17"},
}
READ: Final = {
    "id": 1,
    **EXAMPLE,
    "failing_since": None,
    "off_because": "",
    "created_at": "2026-11-29T06:00:00Z",
}
NEW_SECRET: Final = {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
TEST: Final = {**DELIVERY, "type": "webhook.test", "status": "pending", "attempts": 0, "last_status": None}
MASK: Final = "…"


class WebhookSerializer(StrictModelSerializer[Webhook]):
    """A webhook without its secret."""

    events = serializers.ListField(
        child=StringField(),
        min_length=1,
        max_length=MAX_EVENTS,
        validators=[check_events],
        help_text="Types of events, prefixes such as `session.*`, or `*`.",
    )
    addresses = serializers.ListField(
        child=StringField(max_length=MAX_LENGTH, trim_whitespace=False),
        required=False,
        max_length=MAX_PATTERNS,
        validators=[check_patterns],
        help_text="Patterns, for events that have an address; empty: all.",
    )
    headers = serializers.DictField(
        child=StringField(allow_blank=True, trim_whitespace=False),
        required=False,
        help_text="Headers that each call has, by name.",
    )

    class Meta:
        model = Webhook
        fields = (
            "id",
            "name",
            "url",
            "events",
            "addresses",
            "headers",
            "enabled",
            "failing_since",
            "off_because",
            "created_at",
        )
        read_only_fields = ("failing_since", "off_because", "created_at")

    def to_representation(self, instance: Webhook) -> dict[str, Any]:
        """The row; of headers, which may hold a secret, staff that may not change webhooks sees the names."""
        shown = super().to_representation(instance)
        request = self.context["request"]
        if not isinstance(request.auth, Grant) and not request.user.has_perm("core.change_webhook"):
            shown["headers"] = dict.fromkeys(shown["headers"], MASK)
        return shown

    def validate_url(self, value: str) -> str:
        """A URL that may be called, as the view has found before its transaction."""
        if refusal := self.context["refusal"]:
            raise serializers.ValidationError(refusal)
        return value

    def validate_headers(self, value: dict[str, str]) -> dict[str, str]:
        """By the rule of the model: a validator of the field would be told less."""
        Webhook._meta.get_field("headers").run_validators(value)
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raise ValidationError for events that would never come."""
        known = self.instance or Webhook()
        events, addresses = (attrs.get(name, getattr(known, name)) for name in ("events", "addresses"))
        try:
            service.check_addressed(events, addresses)
        except Invalid as error:
            raise serializers.ValidationError(error.message_dict) from None
        return attrs

    def create(self, validated_data: dict[str, Any]) -> Webhook:
        """Make it, with a secret."""
        row = Webhook(**validated_data)
        service.prepare(row, validated_data)
        row.save()
        row.refresh_from_db()
        return row

    def update(self, instance: Webhook, validated_data: dict[str, Any]) -> Webhook:
        """Change it; to switch it on forgets that it failed, to name it on when it is on does not."""
        changes = {name: value for name, value in validated_data.items() if getattr(instance, name) != value}
        for name, value in changes.items():
            setattr(instance, name, value)
        service.prepare(instance, changes)
        # Only these: the server may have written others in the meantime.
        instance.save(
            update_fields=[*changes, *(("failing_since", "off_because") if "enabled" in changes else ())]
        )
        return instance


class SecretSerializer(serializers.Serializer[Any]):
    """A secret, this once."""

    secret = serializers.CharField(help_text="`whsec_` and its bytes in base64; it is not shown again.")


class NewWebhookSerializer(WebhookSerializer):
    """A new webhook, with its secret."""

    secret = serializers.CharField(read_only=True, help_text="It is not shown again.")

    class Meta(WebhookSerializer.Meta):
        fields = (*WebhookSerializer.Meta.fields, "secret")  # type: ignore[assignment]  # one more


class ReplayedSerializer(serializers.Serializer[Any]):
    """How many deliveries begin again."""

    replayed = serializers.IntegerField()


class StateSerializer(serializers.Serializer[Any]):
    """The deliveries of one webhook."""

    webhook = serializers.IntegerField(help_text="Its id.")
    pending = serializers.IntegerField(help_text="All that wait for their first or their next attempt.")
    done = serializers.IntegerField(help_text=f"Of the newest {RECENT} deliveries.")
    failed = serializers.IntegerField(help_text=f"Of the newest {RECENT} deliveries.")
    last_status = serializers.IntegerField(allow_null=True, help_text="Of the newest one that was sent.")
    last_error = serializers.CharField(help_text="Why the newest one that was sent had no good answer.")


class StatesSerializer(serializers.Serializer[Any]):
    """Of all webhooks."""

    webhooks = StateSerializer(many=True)


STATES: Final = {
    "webhooks": [{"webhook": 1, "pending": 0, "done": 912, "failed": 3, "last_status": 200, "last_error": ""}]
}


@extend_schema_view(
    list=extend_schema(summary="List webhooks"),
    create=extend_schema(summary="Make a webhook", responses={201: NewWebhookSerializer}),
    retrieve=extend_schema(summary="One webhook"),
    update=extend_schema(summary="Change a webhook"),
    partial_update=extend_schema(summary="Change a part of a webhook"),
    destroy=extend_schema(summary="Delete a webhook", description="Its deliveries are deleted with it."),
)
class WebhookViewSet(RowsWithSecret[Webhook]):
    """URLs that are told of events. All of it needs the scope admin; changes hold within 5 seconds."""

    serializer_class = WebhookSerializer
    queryset = Webhook.objects.all()
    body_example: ClassVar = EXAMPLE
    row_example: ClassVar = READ
    new_example: ClassVar = {**READ, **NEW_SECRET}
    refusal = ""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Look the name of a URL up here, before the transaction of the change: it may take a while."""
        super().initial(request, *args, **kwargs)
        if self.action in {"create", "update", "partial_update"} and isinstance(request.data, dict):
            self.refusal = service.refusal_of(request.data.get("url"))

    def get_serializer_context(self) -> dict[str, Any]:
        """What is known of the URL."""
        return {**super().get_serializer_context(), "refusal": self.refusal}

    def tell(self) -> None:
        """Have every worker read the webhooks."""
        tell_webhooks_changed()

    @extend_schema(
        summary="Send a test",
        description="One event of the type `webhook.test`; its delivery is listed as any other.",
        request=None,
        responses={202: DeliverySerializer},
        examples=[OpenApiExample("A test", TEST, response_only=True, status_codes=["202"])],
    )
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str | None = None) -> Response:
        """Have a test delivered."""
        try:
            row = service.test(self.get_object())
        except Invalid as error:
            raise serializers.ValidationError({"enabled": error.messages}) from None
        row.refresh_from_db()
        return Response(DeliverySerializer(row).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(
        summary="Change the secret",
        description="Answers the new one, this once. The old one signs, too, for 24 hours.",
        request=None,
        responses={200: SecretSerializer},
        examples=[OpenApiExample("A secret", NEW_SECRET, response_only=True)],
    )
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, pk: str | None = None) -> Response:
        """Make a new secret."""
        return Response({"secret": service.rotate(self.get_object())}, headers=NO_STORE)

    @extend_schema(
        summary="Deliver all again that failed",
        description="Deliveries that were given up begin from the first attempt on, each with the same"
        " `webhook-id`.",
        request=None,
        responses={202: ReplayedSerializer},
        examples=[OpenApiExample("Three", {"replayed": 3}, response_only=True, status_codes=["202"])],
    )
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, pk: str | None = None) -> Response:
        """Have what failed sent once more."""
        replayed = service.replay_failed(self.get_object())
        return Response({"replayed": replayed}, status=status.HTTP_202_ACCEPTED)

    @extend_schema(
        operation_id="webhooks_states",
        summary="Deliveries of all webhooks by state",
        responses=StatesSerializer,
        examples=[OpenApiExample("A webhook", STATES, response_only=True)],
        filters=False,
    )
    @action(detail=False, methods=["get"], pagination_class=None)
    def states(self, request: Request) -> Response:
        """Numbers and last answers."""
        return Response({"webhooks": [asdict(one) for one in states(self.get_queryset())]})

    @extend_schema(
        summary="Deliveries of a webhook",
        parameters=[DeliveryFilter],
        responses={200: DeliverySerializer(many=True)},
        examples=[OpenApiExample("A delivery", DELIVERY, response_only=True)],
    )
    @action(detail=True, methods=["get"])
    def deliveries(self, request: Request, pk: str | None = None) -> Response:
        """Deliveries that are kept, the newest first."""
        narrow = DeliveryFilter(data=request.query_params)
        narrow.is_valid(raise_exception=True)
        rows: Any = self.get_object().deliveries.filter(**narrow.validated_data)
        return self.get_paginated_response(DeliverySerializer(self.paginate_queryset(rows), many=True).data)
