"""The first start: a publisher to try things with."""

from __future__ import annotations

from routing_app.core.audit.actor import command_line
from routing_app.core.audit.calls import target_of
from routing_app.core.audit.entries import record
from sessions_app.limits import LimitScope, Policy
from sessions_app.models import Limit, Publisher
from sessions_app.provisioning import create_publisher

NAME = "demo"
MAXIMUM = 2


def prepare() -> list[str]:
    """Make the publisher `demo`, with 2 sessions per offer, where there is not one publisher; returns the
    lines to print."""
    if Publisher.objects.exists():
        return []
    publisher, secret = create_publisher(NAME)
    record("create", target_of(publisher, publisher.pk), actor=command_line())
    Limit.objects.create(publisher=publisher, scope=LimitScope.OFFER, maximum=MAXIMUM, policy=Policy.ASK)
    return [f"publisher:   {NAME} (signs customer tokens)", f"its secret:  {secret}"]
