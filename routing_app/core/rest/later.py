"""Messages of `/api/publish` that are published later: their fields, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers, status
from rest_framework.exceptions import APIException, ValidationError

from routing_app.core.access.grants import Grant
from routing_app.core.publishable import NotStorable, check_storable
from routing_app.core.scheduled.service import Later, TooManyScheduled, schedule
from routing_app.core.scheduled.times import LONGEST, NotATime, When, when_of
from routing_app.core.worker import current_worker

FIELDS: Final = ("at", "delay")
RETRY_SECONDS: Final = 30


class Full(APIException):
    """As many messages wait for their time as may."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "full"
    wait = RETRY_SECONDS


@extend_schema_field({"type": "string", "format": "date-time"})
class AtField(serializers.Field[Any, Any, Any, Any]):
    """A time with a zone, checked by `when_of`."""

    def to_internal_value(self, data: Any) -> Any:
        """As it came."""
        return data


@extend_schema_field({"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST.total_seconds()})
class DelayField(AtField):
    """Seconds, checked by `when_of`."""


def when_in(data: Mapping[str, Any]) -> When | None:
    """The time in a body. Raises ValidationError."""
    try:
        return when_of(data)
    except NotATime as error:
        raise ValidationError({error.field: [str(error)]}) from None


async def schedule_for(
    grant: Grant, addresses: tuple[str, ...], message: Any, id: str, when: When
) -> dict[str, Any]:
    """Schedule a message for a caller that may publish it: `{"scheduled": id}`.

    Raises ValidationError, Full, and the errors of BACKING_SERVICES.
    """
    try:
        check_storable(message)
        later = Later(addresses, message, when, grant.identity, grant.caller, id)
        return {"scheduled": await schedule(current_worker(), later)}
    except NotATime as error:
        raise ValidationError({error.field: [str(error)]}) from None
    except NotStorable as error:
        raise ValidationError({"message": [str(error)]}) from None
    except TooManyScheduled as error:
        raise Full(str(error)) from None
