"""Rows of the addresses that some patterns cover, as a condition of a query."""

from __future__ import annotations

from collections import defaultdict

from django.db.models import F, Q, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Concat, Substr
from django.db.models.lookups import In

from routing_app.core.access.patterns import EVERYTHING, Patterns
from routing_app.core.models import Subscription


def covered(patterns: Patterns, address: Combinable | str) -> Q:
    """The condition that `patterns` cover an address: the name of a column, or an expression.

    `Substr` tells capitals apart and knows no wildcards, as LIKE does not on every database.
    """
    by_length: dict[int, list[str]] = defaultdict(list)
    for prefix in patterns.prefixes:
        by_length[len(prefix)].append(prefix)
    if 0 in by_length:
        return Q()
    column = F(address) if isinstance(address, str) else address
    condition = Q(In(column, sorted(patterns.exact))) if patterns.exact else Q(pk__in=[])
    for length, prefixes in by_length.items():
        condition |= Q(In(Substr(column, 1, length), prefixes))
    return condition


def reached_by(addresses: Patterns) -> Q:
    """The condition that a connection is subscribed to one of some addresses, or is one."""
    if addresses is EVERYTHING:
        return Q()
    subscribed = Subscription.objects.filter(covered(addresses, "address"))
    own = covered(addresses, Concat(Value("connection:"), F("id")))
    return Q(pk__in=subscribed.values("connection")) | own
