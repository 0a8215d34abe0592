"""The topics `connections`, a page of all clients, and `connection`, one of them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar, Final

from routing_app.console.access import VIEW_CONNECTIONS, Viewer
from routing_app.console.topics import params as checks
from routing_app.console.topics.topic import Topic, TopicError
from routing_app.core.monitoring import lists
from routing_app.core.monitoring.connections import VALUES, Query, check_network
from routing_app.core.monitoring.paging import Page
from routing_app.core.worker import current_worker

FILTERS: Final = ("protocol", "identity", "address", "network", "worker", "search")


class ConnectionsTopic(Topic):
    """Filtered, sorted, a page at a time, over all workers."""

    name = "connections"
    permissions = (VIEW_CONNECTIONS,)
    every_seconds: ClassVar = 2.0

    def checked(self, params: dict[str, Any]) -> dict[str, Any]:
        """Filters, order and page. Raises TopicError."""
        checks.known(params, (*FILTERS, "sort", "descending", "page", "size"))
        page = checks.page(params)
        found: dict[str, Any] = {name: checks.string(params, name).strip() for name in FILTERS}
        if found["network"]:
            try:
                check_network(found["network"])
            except ValueError:
                raise TopicError(400, "network: expected an address, or one such as 192.0.2.0/24.") from None
        return found | {
            "sort": checks.string(params, "sort", VALUES, "age"),
            "descending": checks.boolean(params, "descending", True),
            "page": page.number,
            "size": page.size,
        }

    def variant(self, viewer: Viewer) -> Hashable:
        """Identities are masked for those that may not see them."""
        return viewer.member.secrets

    async def read(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        """`{"count", "pages", "rows", "by_protocol", "missing"}`."""
        wanted = dict(params)
        page = Page(wanted.pop("page"), wanted.pop("size"))
        worker = wanted.pop("worker")
        cluster = current_worker().monitor.cluster
        return await lists.connections(cluster, viewer.member.secrets, Query(**wanted), page, worker)


class ConnectionTopic(Topic):
    """One connection, until it has ended."""

    name = "connection"
    permissions = (VIEW_CONNECTIONS,)
    every_seconds: ClassVar = 1.0

    def checked(self, params: dict[str, Any]) -> dict[str, Any]:
        """`id`. Raises TopicError."""
        checks.known(params, ("id",))
        return {"id": checks.string(params, "id")}

    def variant(self, viewer: Viewer) -> Hashable:
        """Identities and addresses are masked for those that may not see them."""
        return viewer.member.secrets

    async def read(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        """All that is shown of it. Raises TopicError (404) once it has ended."""
        cluster = current_worker().monitor.cluster
        found = await lists.connection(cluster, viewer.member.secrets, params["id"])
        if found is None:
            raise TopicError(404, "This connection has ended.")
        return found
