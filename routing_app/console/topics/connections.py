"""The topics `connections`, a page of all clients, and `connection`, one of them."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from routing_app.console.access import Viewer
from routing_app.console.topics import params as checks
from routing_app.console.topics.clients import ClientTopic, ListTopic
from routing_app.console.topics.topic import TopicError
from routing_app.core.access.masking import SecretAccess
from routing_app.core.monitoring import lists
from routing_app.core.monitoring.cluster import Cluster, NoAnswer
from routing_app.core.monitoring.connections import VALUES, Query, check_network
from routing_app.core.monitoring.paging import Page
from routing_app.core.worker import current_worker

FILTERS: Final = ("protocol", "identity", "address", "network", "worker", "search")


class ConnectionsTopic(ListTopic):
    """Clients."""

    name = "connections"
    narrowing = (*FILTERS, "sort", "descending")

    def narrowed(self, params: dict[str, Any]) -> dict[str, Any]:
        """Filters and order. Raises TopicError."""
        found: dict[str, Any] = {name: checks.string(params, name).strip() for name in FILTERS}
        if found["network"]:
            try:
                check_network(found["network"])
            except ValueError:
                raise TopicError(400, "network: expected an address, or one such as 192.0.2.0/24.") from None
        sort = checks.string(params, "sort", VALUES, "age")
        return found | {"sort": sort, "descending": checks.boolean(params, "descending", True)}

    async def rows(self, cluster: Cluster, access: SecretAccess, wanted: dict[str, Any], page: Page) -> Any:
        """`{"count", "pages", "rows", "by_protocol", "missing"}`."""
        worker = wanted.pop("worker")
        return await lists.connections(cluster, access, Query(**wanted), page, worker)


class ConnectionTopic(ClientTopic):
    """One connection, until it has ended."""

    name = "connection"
    every_seconds: ClassVar = 1.0

    def checked(self, params: dict[str, Any]) -> dict[str, Any]:
        """`id`. Raises TopicError."""
        checks.known(params, ("id",))
        return {"id": checks.string(params, "id")}

    async def read(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        """All that is shown of it. Raises TopicError: 404 once it has ended, 503 while nobody can say."""
        cluster = current_worker().monitor.cluster
        try:
            found = await lists.connection(cluster, viewer.member.secrets, params["id"])
        except NoAnswer:
            raise TopicError(503, "Its worker does not answer; this page goes on when it does.") from None
        if found is None:
            raise TopicError(404, "This connection has ended.")
        return found
