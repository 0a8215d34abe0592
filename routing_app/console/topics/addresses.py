"""The topics `addresses`, those that have subscribers, and `address`, one with its stream."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime
from typing import Any, ClassVar, Final

from routing_app.console.access import VIEW_MESSAGES, Viewer
from routing_app.console.topics import params as checks
from routing_app.console.topics.clients import ClientTopic, ListTopic
from routing_app.console.topics.topic import TopicError
from routing_app.core.access.masking import SecretAccess
from routing_app.core.monitoring import lists
from routing_app.core.monitoring.addresses import SORTS, AddressQuery
from routing_app.core.monitoring.cluster import Cluster
from routing_app.core.monitoring.paging import Page
from routing_app.core.streams import history
from routing_app.core.streams.history import NoHistory
from routing_app.core.worker import current_worker

SHOWN: Final = 50
"""Messages of a stream, the newest first."""


class AddressesTopic(ListTopic):
    """Addresses."""

    name = "addresses"
    narrowing = ("search", "kind", "sort")

    def narrowed(self, params: dict[str, Any]) -> dict[str, Any]:
        """Filters and order. Raises TopicError."""
        return {
            "search": checks.string(params, "search").strip(),
            "kind": checks.string(params, "kind"),
            "sort": checks.string(params, "sort", SORTS, "subscribers"),
        }

    async def rows(self, cluster: Cluster, access: SecretAccess, wanted: dict[str, Any], page: Page) -> Any:
        """`{"count", "pages", "rows", "exact"}`."""
        return await lists.addresses(cluster, access, AddressQuery(**wanted), page)


class AddressTopic(ClientTopic):
    """One address: subscribers, rule and stream."""

    name = "address"
    every_seconds: ClassVar = 1.0

    def checked(self, params: dict[str, Any]) -> dict[str, Any]:
        """`address`. Raises TopicError."""
        checks.known(params, ("address",))
        address = checks.string(params, "address")
        if not all(address.partition(":")):
            raise TopicError(400, "An address is written kind:name.")
        return {"address": address}

    def variant(self, viewer: Viewer) -> Hashable:
        """Bodies are for those that may see messages."""
        return super().variant(viewer), viewer.has_perm(VIEW_MESSAGES)

    async def read(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        """The row of the list, and more."""
        worker, address = current_worker(), params["address"]
        found = await lists.address(worker.monitor.cluster, viewer.member.secrets, address)
        rule = worker.streams.rules.of(address)
        kept = rule.bounds
        shown = {
            "history_size": kept.size if kept else 0,
            "history_seconds": kept.seconds if kept else 0,
            "notices": rule.notices,
        }
        return found | {
            "rule": shown if kept or rule.notices else None,
            "stream": await _stream(address, viewer.has_perm(VIEW_MESSAGES)),
        }


async def _stream(address: str, bodies: bool) -> dict[str, Any] | None:
    """The stream of an address with its newest messages; None where nothing is kept."""
    worker = current_worker()
    await worker.streams.freshen()
    if (bounds := worker.streams.bounds(address)) is None:
        return None
    try:
        page = await history.read(address, limit=SHOWN, reverse=True)
    except NoHistory:  # the rule has gone in between
        return None
    messages = [
        {
            "offset": one["offset"],
            "at": datetime.fromisoformat(one["at"]).timestamp(),
            "message": one["message"] if bodies else None,
        }
        for one in page["messages"]
    ]
    # A store tells no count: with as many as were asked for, it is the most that there may be.
    kept = len(messages) if len(messages) < SHOWN else min(page["offset"], bounds.size)
    return {"epoch": page["epoch"], "offset": page["offset"], "kept": kept, "messages": messages}
