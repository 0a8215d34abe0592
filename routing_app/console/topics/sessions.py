"""The topic `sessions`: a mark that is another one once sessions have changed; its page asks REST then."""

from __future__ import annotations

from typing import Any, ClassVar

from routing_app.console.access import VIEW_SESSIONS, Viewer
from routing_app.console.topics import params as checks
from routing_app.console.topics.topic import Topic
from routing_app.core.worker import current_worker


class SessionsTopic(Topic):
    """What workers have written, and nothing of the database."""

    name = "sessions"
    permissions = (VIEW_SESSIONS,)
    every_seconds: ClassVar = 1.0
    is_told_again = False

    def checked(self, params: dict[str, Any]) -> dict[str, Any]:
        """None. Raises TopicError."""
        checks.known(params, ())
        return {}

    async def read(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        """`{worker: how often it has changed sessions}`."""
        return await current_worker().monitor.cluster.ask_all("monitoring.changes", {"kind": "sessions"})
