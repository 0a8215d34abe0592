"""Revocations in the database: those of some names, all of them in order, and the removal of old ones."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from math import inf
from time import time
from typing import Any, Final

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from routing_app.core.models import Revocation
from routing_app.core.models.revocations import NAMED
from routing_app.core.revocations.names import (
    Carried,
    Kind,
    Name,
    Row,
    is_network_name,
    named_by,
    network_name,
)

logger = logging.getLogger(__name__)

KINDS: Final = tuple(map(Kind, NAMED))
COLUMNS: Final = ("pk", *NAMED, "issued_before", "until")
ROWS_AT_ONCE: Final = 5_000
"""Rows of one reading: they are put into the index in one turn of the loop, in about 10 ms."""
ALONE: Final = ("/32", "/128")
KEPT: Final = timedelta(days=7)
"""A revocation that is over can be read for so long."""


def row_of(revocation: Revocation) -> Row:
    """A row as workers know it."""
    return _row(*(getattr(revocation, column) for column in COLUMNS))


def rows_of(names: Iterable[Name]) -> list[Row]:
    """Every revocation of some names, also those that are over. Uses the ORM."""
    values = defaultdict(list)
    for kind, value in names:
        values[kind].append(value)
    # A query for each kind: each has an index of its own.
    found = [_read(Revocation.objects.filter(_among(kind, some))) for kind, some in values.items()]
    return [row for rows in found for row in rows]


def rows_after(last: int, missing: Collection[int] = ()) -> list[Row]:
    """The next ROWS_AT_ONCE rows behind an id, in order, and before them those among `missing` that are there
    by now. Uses the ORM.
    """
    came = _read(Revocation.objects.filter(pk__in=missing)) if missing else []
    return came + _read(Revocation.objects.filter(pk__gt=last).order_by("pk")[:ROWS_AT_ONCE])


def count() -> int:
    """The number of rows. Uses the ORM."""
    return Revocation.objects.count()


def is_revoked(carried: Iterable[Carried]) -> bool:
    """True when a client with these names is not let in now. Uses the ORM."""
    carried = list(carried)
    now = time()
    return any(row.concerns(one, now) for row in rows_of(named_by(carried)) for one in carried)


def remove_old(most: int = 10_000) -> int:
    """Remove some revocations that have been over for a week; how many. Uses the ORM."""
    old = Revocation.objects.filter(until__lt=Now() - KEPT).order_by("pk")
    ids = list(old.values_list("pk", flat=True)[:most])
    return Revocation.objects.filter(pk__in=ids).delete()[0]


def _among(kind: Kind, values: list[str]) -> Q:
    if kind is Kind.NETWORK:  # a row that was written by hand may hold an address alone
        values = values + [value.removesuffix(alone) for value in values for alone in ALONE]
    # Not empty: without that no database uses an index of the filled ones.
    return Q(**{f"{kind}__in": values}) & ~Q(**{kind: ""})


def _read(revocations: QuerySet[Revocation]) -> list[Row]:
    return [_row(*values) for values in revocations.values_list(*COLUMNS)]


def _row(id: int, *values: Any) -> Row:
    """The row; one that was over before all time for a network that is none, as another program writes it."""
    *names, issued_before, until = values
    kind, value = next(one for one in zip(KINDS, names, strict=True) if one[1])
    if kind is Kind.NETWORK and not is_network_name(value):
        try:
            value = network_name(value)
        except ValueError:
            logger.warning("revocations: the network of %d is none, and is ignored", id)
            return Row(id, Name(kind, value), until=-inf)
    return Row(id, Name(kind, value), _unix(issued_before), _unix(until))


def _unix(at: datetime | None) -> float:
    return inf if at is None else at.timestamp()
