"""REST: `/api/rules/`, the rules of addresses."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.db import transaction
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework.viewsets import ModelViewSet

from routing_app.core.models import AddressRule, Scope
from routing_app.core.rest.fields import StrictModelSerializer
from routing_app.core.streams.notice import tell_rules_changed


class RuleSerializer(StrictModelSerializer[AddressRule]):
    """A rule; of several that match an address the one with the longest pattern counts."""

    class Meta:
        model = AddressRule
        fields = ("id", "pattern", "history_size", "history_seconds", "notices", "note")
        extra_kwargs: ClassVar = {"pattern": {"trim_whitespace": False}}


EXAMPLE: Final = {
    "pattern": "room:bus/*",
    "history_size": 1000,
    "history_seconds": 3600,
    "notices": True,
    "note": "chat",
}


@extend_schema_view(
    list=extend_schema(summary="List rules of addresses"),
    create=extend_schema(
        summary="Make a rule", examples=[OpenApiExample("A rule", EXAMPLE, request_only=True)]
    ),
    retrieve=extend_schema(summary="One rule"),
    update=extend_schema(summary="Change a rule"),
    partial_update=extend_schema(summary="Change a part of a rule"),
    destroy=extend_schema(summary="Delete a rule", description="What was kept by it expires."),
)
class RuleViewSet(ModelViewSet[AddressRule]):
    """Which addresses have history. All of it needs the scope manage; changes hold within 5 seconds."""

    serializer_class = RuleSerializer
    queryset = AddressRule.objects.all()
    lookup_value_regex = "[0-9]+"
    scopes: ClassVar = dict.fromkeys(("GET", "HEAD", "OPTIONS"), Scope.MANAGE)

    def perform_create(self, serializer: Any) -> None:
        """Make it, and tell."""
        serializer.save()
        transaction.on_commit(tell_rules_changed)

    def perform_update(self, serializer: Any) -> None:
        """Change it, and tell."""
        serializer.save()
        transaction.on_commit(tell_rules_changed)

    def perform_destroy(self, instance: AddressRule) -> None:
        """Delete it, and tell."""
        super().perform_destroy(instance)
        transaction.on_commit(tell_rules_changed)
