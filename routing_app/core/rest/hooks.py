"""REST: `/api/hooks/`, the URLs that are asked before a step is taken."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.core.exceptions import ValidationError as ModelError
from django.db import models
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from routing_app.core.hooks.backend import Outcome
from routing_app.core.hooks.notice import tell_hooks_changed
from routing_app.core.hooks.states import HookState, everywhere
from routing_app.core.models import Hook
from routing_app.core.models.hooks import ANY, MAX_HEADERS, check_headers
from routing_app.core.rest.fields import StrictModelSerializer, StringField, WholeNumberField
from routing_app.core.rest.known_rows import RowsWithSecret
from routing_app.core.synchronous import from_sync
from routing_app.core.worker import current_worker

EXAMPLE: Final = {
    "protocol": "*",
    "on": "publish",
    "pattern": "room:bus/*",
    "url": "http://backend:8080/hooks",
    "timeout": 1000,
    "fail": "closed",
    "headers": ["user-agent"],
    "enabled": True,
}

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - an example


class HookSerializer(StrictModelSerializer[Hook]):
    """A hook without its secret."""

    serializer_field_mapping: ClassVar = {
        **StrictModelSerializer.serializer_field_mapping,
        models.PositiveIntegerField: WholeNumberField,
    }
    headers = serializers.ListField(
        child=StringField(),
        required=False,
        max_length=MAX_HEADERS,
        validators=[check_headers],
        help_text="Names of headers of the handshake that it is told.",
    )

    class Meta:
        model = Hook
        fields = ("id", "protocol", "on", "pattern", "url", "timeout", "fail", "headers", "enabled")
        extra_kwargs: ClassVar = {"pattern": {"allow_blank": True}}

    def validate_pattern(self, value: str) -> str:
        """An empty one is that of all."""
        return value or ANY

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Raise ValidationError for a hook that could never be asked."""
        names = ("protocol", "on", "pattern")
        known = {} if self.instance is None else {name: getattr(self.instance, name) for name in names}
        given = {name: attrs[name] for name in names if name in attrs}
        try:
            Hook(**{**known, **given}).clean()
        except ModelError as error:
            raise serializers.ValidationError(error.message_dict) from None
        return attrs


class NewHookSerializer(HookSerializer):
    """A new hook, with the secret that its calls are signed with."""

    secret = serializers.CharField(read_only=True, help_text="Of the signatures; it is not shown again.")

    class Meta(HookSerializer.Meta):
        fields = (*HookSerializer.Meta.fields, "secret")  # type: ignore[assignment]  # one more


class HookStateSerializer(serializers.Serializer[Any]):
    """A hook on one worker."""

    hook = serializers.IntegerField(help_text="Its id.")
    worker = serializers.CharField()
    left_alone = serializers.BooleanField(
        help_text="It has failed so often that it is not asked for a while."
    )
    outcomes = serializers.DictField(
        child=serializers.IntegerField(), help_text="Questions by outcome, since the worker knows the hook."
    )


class HookStatesSerializer(serializers.Serializer[Any]):
    """All that are on, on every worker that answers."""

    hooks = HookStateSerializer(many=True)


STATES: Final = {
    "hooks": [
        {
            "hook": 1,
            "worker": "5c1f0a9be2d4",
            "left_alone": False,
            "outcomes": dict.fromkeys([outcome.value for outcome in Outcome], 0) | {"allowed": 12},
        }
    ]
}


async def _states() -> list[HookState]:
    return await everywhere(current_worker())


states_sync: Final = from_sync(_states)


@extend_schema_view(
    list=extend_schema(summary="List hooks"),
    create=extend_schema(summary="Make a hook", responses={201: NewHookSerializer}),
    retrieve=extend_schema(summary="One hook"),
    update=extend_schema(summary="Change a hook"),
    partial_update=extend_schema(summary="Change a part of a hook"),
    destroy=extend_schema(summary="Delete a hook"),
)
class HookViewSet(RowsWithSecret[Hook]):
    """URLs that are asked before a step is taken. All of it needs the scope admin; changes hold within 5
    seconds."""

    serializer_class = HookSerializer
    queryset = Hook.objects.all()
    body_example: ClassVar = EXAMPLE
    row_example: ClassVar = {"id": 1, **EXAMPLE}
    new_example: ClassVar = {"id": 1, **EXAMPLE, "secret": SECRET}

    def tell(self) -> None:
        """Have every worker read the hooks."""
        tell_hooks_changed()

    @extend_schema(
        operation_id="hooks_states",
        summary="How hooks fare on each worker",
        responses=HookStatesSerializer,
        examples=[OpenApiExample("A hook", STATES, response_only=True)],
        filters=False,
    )
    @action(detail=False, methods=["get"], pagination_class=None)
    def states(self, request: Request) -> Response:
        """Questions by outcome, and which hooks are left alone."""
        return Response({"hooks": states_sync()})
