"""Revoked customers: the name that a revocation has for one, and the end of its sessions."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Final
from uuid import UUID

from django.db.models import Q

from routing_app.core.codes import REVOKED
from routing_app.core.database import query
from routing_app.core.revocations.known import Revoked
from routing_app.core.revocations.names import Carried, Kind
from routing_app.core.worker import current_worker
from sessions_app import service
from sessions_app.access import Customer
from sessions_app.models import Session
from sessions_app.store import AccountKey

BY: Final = "revocation"
"""The operator in the history of a session that a revocation has ended."""
CHUNK: Final = 100
"""Customers in one query."""


def carried(key: AccountKey, issued_at: float) -> Carried:
    """A customer as a name that may be revoked: `publisher/customer`."""
    return Carried(Kind.SUBJECT, f"{key.publisher}/{key.customer}", issued_at)


async def is_revoked(customer: Customer) -> bool:
    """True when a customer is not let in now. Raises what the database raises."""
    revocations = current_worker().revocations
    key = AccountKey(customer.publisher, customer.id)
    return bool(revocations) and await revocations.concern([carried(key, customer.issued_at)])


async def end_sessions(revoked: Revoked) -> None:
    """End the sessions of customers that have just been revoked; every worker tries. Raises OUTAGE.

    A revocation of older tokens alone ends the sessions that were made before that time.
    """
    # The name of a publisher has no slash.
    subjects = [name.value.partition("/") for name in revoked.rows if name.kind is Kind.SUBJECT]
    keys = [AccountKey(publisher, customer) for publisher, slash, customer in subjects if slash]
    for start in range(0, len(keys), CHUNK):
        rows = await query(_live, keys[start : start + CHUNK])
        doomed = [(key, id) for key, id, made_at in rows if revoked.concern([carried(key, made_at)])]
        await service.kill(doomed, BY, REVOKED)


def _live(keys: list[AccountKey]) -> list[tuple[AccountKey, UUID, float]]:
    named = [Q(account__publisher__name=key.publisher, account__customer=key.customer) for key in keys]
    rows = Session.objects.live().filter(reduce(or_, named))
    values = rows.values_list("account__publisher__name", "account__customer", "pk", "created_at")
    return [(AccountKey(name, customer), pk, at.timestamp()) for name, customer, pk, at in values]
