"""Lists of all workers together: each sends the best rows of its own, and here they become one page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from routing_app.core.access.masking import SecretAccess, hides_identities, mask, shown_address
from routing_app.core.address import kinds, worker_of
from routing_app.core.monitoring.addresses import AddressQuery
from routing_app.core.monitoring.cluster import Cluster, NoAnswer
from routing_app.core.monitoring.connections import FIELDS, Query
from routing_app.core.monitoring.paging import Page, merged, pages
from routing_app.core.protocol import registered

FIRST: Final = 50
"""Connections that are shown with an address."""
CANDIDATES: Final = 1_000
"""Addresses, beyond those of the page, whose numbers of all workers are compared."""

if TYPE_CHECKING:
    from collections.abc import Mapping


def masked_protocols(access: SecretAccess) -> tuple[str, ...]:
    """Protocols whose identities a reader sees masked: one may look for a whole one, not for a part."""
    return tuple(one.name for one in registered() if hides_identities(access, one.name))


def masked_kinds(access: SecretAccess) -> tuple[str, ...]:
    """Kinds of addresses whose names a reader sees masked."""
    return tuple(kind for kind in kinds() if shown_address(access, f"{kind}:name") != f"{kind}:name")


async def connections(
    cluster: Cluster, access: SecretAccess, query: Query, page: Page, worker: str = ""
) -> dict[str, Any]:
    """`{"count", "pages", "rows", "by_protocol", "missing"}`; `missing` are workers without an answer.

    `worker` is the only one that is asked, if it is given.
    """
    query = replace(query, masked=masked_protocols(access))
    ids = [id for id in await cluster.workers() if worker in ("", id)]
    payload = {"query": query.as_json(), "depth": page.depth}
    answers = await cluster.ask_all("monitoring.connections", payload, ids)
    by_protocol = _sums(answer["counts"] for answer in answers.values())
    count = sum(by_protocol.values())
    rows = merged([answer["rows"] for answer in answers.values()], page)
    return {
        "count": count,
        "pages": pages(count, page),
        "rows": [_row(access, row[2:]) for row in rows],
        "by_protocol": by_protocol,
        "missing": [id for id in ids if id not in answers],
    }


async def connection(cluster: Cluster, access: SecretAccess, id: str) -> dict[str, Any] | None:
    """One connection with all that is shown of it; None when it has ended, or its worker is not known.

    Raises NoAnswer where its worker does not answer in time, or the database does not say which workers there
    are: the connection may still be there.
    """
    worker = worker_of(id)
    if not worker:
        return None
    if worker not in await cluster.workers():
        if not cluster.database_answers:
            raise NoAnswer
        return None
    found: dict[str, Any] | None = await cluster.answer(worker, "monitoring.connection", {"id": id})
    if found is None:
        return None
    ends = await cluster.ask_all("monitoring.closes", {"host": found.pop("host")})
    if hides_identities(access, found["protocol"]):
        # Nor can be revoked what its reader may not see.
        found["revocable"] = [one for one in found["revocable"] if one["value"] != found["identity"]]
        found["identity"] = mask(found["identity"])
    found["subscriptions"] = [shown_address(access, one) for one in found["subscriptions"]]
    closes = [one for some in ends.values() for one in some]
    return found | {"closes": sorted(closes, key=lambda one: one["at"])[-10:]}


async def addresses(
    cluster: Cluster, access: SecretAccess, query: AddressQuery, page: Page
) -> dict[str, Any]:
    """`{"count", "pages", "rows", "exact"}`.

    Where a worker has many addresses that match, it sends the first by its own numbers: then `exact` is
    False, `count` may count an address once for each worker, and the order may be wrong by what addresses
    have elsewhere. The numbers of each row are right.
    """
    query = replace(query, masked=masked_kinds(access))
    payload = {"query": query.as_json(), "depth": page.depth}
    answers = await cluster.ask_all("monitoring.addresses", payload)
    values: dict[str, float] = {}
    subscribed: set[str] = set()
    for answer in answers.values():
        for value, name, subscribers in answer["rows"]:
            values[name] = values.get(name, 0) + value
            if subscribers:
                subscribed.add(name)
    order = sorted(subscribed, key=lambda one: (values[one], one))
    if exact := all(answer["complete"] for answer in answers.values()):
        count, rows = len(order), await _numbers(cluster, page.cut(order))
    else:
        count = sum(answer["count"] for answer in answers.values())
        rows = await _numbers(cluster, order[: page.depth + CANDIDATES])
        rows.sort(key=lambda row: (-row["rate" if query.sort == "rate" else "total"], row["address"]))
        rows = [*page.cut(rows)]
    shown = [row | {"address": shown_address(access, row["address"])} for row in rows]
    return {"count": count, "pages": pages(count, page), "rows": shown, "exact": exact}


async def address(cluster: Cluster, access: SecretAccess, name: str) -> dict[str, Any]:
    """One address with its first subscribers, as a row of `connections` each."""
    (row,) = await _numbers(cluster, [name])
    found = await connections(cluster, access, Query(address=name), Page(size=FIRST))
    return row | {"connections": found["rows"]}


async def _numbers(cluster: Cluster, wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The numbers of some addresses in all workers together."""
    answers = await cluster.ask_all("monitoring.numbers", {"addresses": [*wanted]})
    rows = []
    for place, name in enumerate(wanted):
        parts = [answer[place] for answer in answers.values()]
        subscribers = _sums(part[0] for part in parts)
        rows.append(
            {
                "address": name,
                "subscribers": subscribers,
                "total": sum(subscribers.values()),
                "published": sum(part[1] for part in parts),
                "rate": sum(part[2] for part in parts),
            }
        )
    return rows


def _row(access: SecretAccess, values: Iterable[Any]) -> dict[str, Any]:
    row = dict(zip(FIELDS, values, strict=True))
    if hides_identities(access, row["protocol"]):
        row["identity"] = mask(row["identity"])
    return row


def _sums(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            sums[name] = sums.get(name, 0) + count
    return sums
