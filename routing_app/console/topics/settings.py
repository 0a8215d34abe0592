"""The topic `settings`: every setting of the worker that answers, and those that are unsafe."""

from __future__ import annotations

from typing import Any, ClassVar

from routing_app.console.access import VIEW_SETTINGS, Viewer
from routing_app.console.topics import params as checks
from routing_app.console.topics.topic import Topic
from routing_app.core.database import query
from routing_app.core.monitoring import options


class SettingsTopic(Topic):
    """It is asked once: a process does not change its settings."""

    name = "settings"
    permissions = (VIEW_SETTINGS,)
    every_seconds: ClassVar = 60.0

    def checked(self, params: dict[str, Any]) -> dict[str, Any]:
        """None. Raises TopicError."""
        checks.known(params, ())
        return {}

    async def read(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        """`[{"name", "value", "default", "source", "help", "unsafe", "advice"}]`."""
        return await query(options.described)  # beside the loop: it reads a list of common passwords
