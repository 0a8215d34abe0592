"""REST: `/api/rules/`, the rules of addresses."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view

from routing_app.core.access.narrowing import covered
from routing_app.core.models import AddressRule, Scope
from routing_app.core.rest.auth import addresses_of, check_address
from routing_app.core.rest.fields import StrictModelSerializer
from routing_app.core.rest.known_rows import KnownRows
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
    create=extend_schema(summary="Make a rule"),
    retrieve=extend_schema(summary="One rule"),
    update=extend_schema(summary="Change a rule"),
    partial_update=extend_schema(summary="Change a part of a rule"),
    destroy=extend_schema(summary="Delete a rule", description="What was kept by it expires."),
)
class RuleViewSet(KnownRows[AddressRule]):
    """Which addresses have history. All of it needs the scope manage; changes hold within 5 seconds."""

    serializer_class = RuleSerializer
    queryset = AddressRule.objects.all()
    by_address = True
    body_example: ClassVar = EXAMPLE
    row_example: ClassVar = {"id": 1, **EXAMPLE}
    scopes: ClassVar = dict.fromkeys(("GET", "HEAD", "OPTIONS"), Scope.MANAGE)

    def get_queryset(self) -> QuerySet[AddressRule]:
        """Rules of addresses that are all the caller's."""
        return super().get_queryset().filter(covered(addresses_of(self.request), "pattern"))

    def tell(self) -> None:
        """Have every worker read the rules."""
        tell_rules_changed()

    def perform_create(self, serializer: Any) -> None:
        """Make one whose addresses are all the caller's."""
        check_address(self.request, serializer.validated_data["pattern"])
        super().perform_create(serializer)

    def perform_update(self, serializer: Any) -> None:
        """Change one whose addresses stay all the caller's."""
        check_address(self.request, serializer.validated_data.get("pattern", serializer.instance.pattern))
        super().perform_update(serializer)
