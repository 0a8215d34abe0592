"""REST: `/api/scheduled/`, messages that wait for their time."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.mixins import DestroyModelMixin, ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.viewsets import GenericViewSet

from routing_app.core.access import staff
from routing_app.core.access.grants import Grant, GrantKind
from routing_app.core.access.masking import SecretAccess, shown_address
from routing_app.core.access.patterns import Patterns
from routing_app.core.models import ScheduledMessage, Scope
from routing_app.core.rest.auth import HasScope, needed, secret_access
from routing_app.core.rest.views import OfBroker
from routing_app.core.scheduled.service import withdraw

if TYPE_CHECKING:
    from rest_framework.views import APIView

MOST: Final = 10_000
"""Messages that a key sees which is limited to some addresses."""
EXAMPLE: Final = {
    "id": "9f1c0c6d2c1e4b7aa5d1f0e3b2c4d5e6",
    "at": "2030-01-31T08:00:00Z",
    "addresses": ["room:bus/one"],
    "message": "hello",
    "sender": "shop",
    "publish_id": "order-17",
    "created_at": "2030-01-01T08:00:00Z",
}
GONE: Final = "There is no such scheduled message; it was sent or withdrawn."


class MayPublish(HasScope):
    """Whoever may schedule: keys with the scope publish or manage, access tokens; staff by permission."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """May this caller see and withdraw messages?"""
        grant = request.auth
        if not isinstance(grant, Grant):
            return super().has_permission(request, view)
        self.message = needed("publish or manage")
        return grant.kind is GrantKind.TOKEN or bool({Scope.PUBLISH, Scope.MANAGE} & grant.scopes)


class ScheduledMessageSerializer(serializers.ModelSerializer[ScheduledMessage]):
    """A message that waits.

    Of another caller's message, `message` is there for a key with the scope read, and for staff who may view
    messages; addresses that let a client in are masked for staff who may not see them.
    """

    id = serializers.CharField(source="name")
    addresses = serializers.ListField(child=serializers.CharField())
    message = serializers.JSONField(required=False, allow_null=True)

    class Meta:
        model = ScheduledMessage
        fields = ("id", "at", "addresses", "message", "sender", "publish_id", "created_at")

    def to_representation(self, instance: ScheduledMessage) -> dict[str, Any]:
        """The row as the caller may see it."""
        request = self.context["request"]
        shown = super().to_representation(instance)
        if isinstance(request.auth, Grant):
            if instance.caller == request.auth.caller:
                return shown
            may_read = Scope.READ in request.auth.scopes
        else:
            may_read = request.user.has_perm(staff.VIEW_MESSAGES)
        access: SecretAccess = secret_access(request)
        shown["addresses"] = [shown_address(access, one) for one in instance.addresses]
        if not may_read:
            del shown["message"]
        return shown


@extend_schema_view(
    list=extend_schema(summary="List messages that wait for their time"),
    retrieve=extend_schema(summary="One message that waits for its time"),
    destroy=extend_schema(
        summary="Withdraw a message", description="404 once its time has come: then it is, or will be, sent."
    ),
)
class ScheduledViewSet(
    OfBroker, RetrieveModelMixin, DestroyModelMixin, ListModelMixin, GenericViewSet[ScheduledMessage]
):
    """Messages that wait for their time, the next first.

    A credential has its own messages; a key with the scope manage has those of all callers whose addresses
    are all among its own.
    """

    by_address = True
    permission_classes = [MayPublish]  # noqa: RUF012 - as the base class declares it
    serializer_class = ScheduledMessageSerializer
    lookup_field = "name"
    lookup_url_kwarg = "id"
    lookup_value_regex = "[0-9a-f]+"
    row_example = EXAMPLE
    queryset = ScheduledMessage.objects.waiting()

    def get_queryset(self) -> QuerySet[ScheduledMessage]:
        """The messages of this caller."""
        rows = ScheduledMessage.objects.waiting()
        if self.action != "list":
            rows = rows.filter(name=self.kwargs.get(self.lookup_url_kwarg, ""))
        grant = self.request.auth
        if not isinstance(grant, Grant):
            return rows
        if Scope.MANAGE not in grant.scopes:
            return rows.filter(caller=grant.caller)
        return rows.filter(pk__in=_within(rows, grant.addresses)) if grant.is_limited else rows

    def get_object(self) -> ScheduledMessage:
        """The message. Raises NotFound."""
        try:
            return super().get_object()
        except Http404:
            raise NotFound(GONE) from None

    def perform_destroy(self, instance: ScheduledMessage) -> None:
        """Withdraw it. Raises NotFound where a worker was faster."""
        if not withdraw(ScheduledMessage.objects.filter(pk=instance.pk)):
            raise NotFound(GONE)


def _within(rows: QuerySet[ScheduledMessage], addresses: Patterns) -> list[int]:
    """The first messages whose addresses are all covered."""
    all_rows = rows.values_list("number", "addresses").iterator()
    covered = (number for number, named in all_rows if all(map(addresses.cover, named)))
    return list(islice(covered, MOST))
