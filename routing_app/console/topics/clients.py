"""Topics of clients: each viewer sees the secrets that it may see, and lists are pages over all workers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from typing import Any, ClassVar

from routing_app.console.access import VIEW_CONNECTIONS, Viewer
from routing_app.console.topics import params as checks
from routing_app.console.topics.topic import Topic
from routing_app.core.access.masking import SecretAccess
from routing_app.core.monitoring.cluster import Cluster
from routing_app.core.monitoring.paging import Page
from routing_app.core.worker import current_worker


class ClientTopic(Topic):
    """Data of clients, or of one."""

    permissions = (VIEW_CONNECTIONS,)

    def variant(self, viewer: Viewer) -> Hashable:
        """Names that let somebody in are masked for those that may not see them."""
        return viewer.member.secrets


class ListTopic(ClientTopic):
    """Rows that are filtered and sorted, a page at a time."""

    every_seconds: ClassVar = 2.0
    narrowing: ClassVar[tuple[str, ...]]
    """The params beside those of the page."""

    def checked(self, params: dict[str, Any]) -> dict[str, Any]:
        """Filters, order and page. Raises TopicError."""
        checks.known(params, (*self.narrowing, "page", "size"))
        page = checks.page(params)
        return self.narrowed(params) | {"page": page.number, "size": page.size}

    async def read(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        """What `rows` gives."""
        wanted = dict(params)
        page = Page(wanted.pop("page"), wanted.pop("size"))
        return await self.rows(current_worker().monitor.cluster, viewer.member.secrets, wanted, page)

    @abstractmethod
    def narrowed(self, params: dict[str, Any]) -> dict[str, Any]:
        """Filters and order, with defaults. Raises TopicError."""

    @abstractmethod
    async def rows(self, cluster: Cluster, access: SecretAccess, wanted: dict[str, Any], page: Page) -> Any:
        """A page of the rows that are `wanted`, as `narrowed` has checked it."""
