"""The topic `workers`: all of them, and where their settings differ."""

from __future__ import annotations

from typing import Any, ClassVar

from routing_app.console.access import VIEW_SETTINGS, VIEW_WORKERS, Viewer
from routing_app.console.topics import params as checks
from routing_app.console.topics.topic import Topic
from routing_app.core.worker import current_worker


class WorkersTopic(Topic):
    """The workers of the overview, each with `differs`: settings that are not as those of `here`, the worker
    that answers; null for those that may not see settings.
    """

    name = "workers"
    permissions = (VIEW_WORKERS,)
    every_seconds: ClassVar = 1.0

    def checked(self, params: dict[str, Any]) -> dict[str, Any]:
        """None. Raises TopicError."""
        checks.known(params, ())
        return {}

    def variant(self, viewer: Viewer) -> bool:
        """Settings are for those that may see them."""
        return viewer.has_perm(VIEW_SETTINGS)

    async def read(self, viewer: Viewer, params: dict[str, Any]) -> Any:
        """`{"at", "workers": […], "here": id}`."""
        worker = current_worker()
        overview = worker.monitor.overview
        found = await overview.read()
        differs: dict[str, Any] = {}
        if viewer.has_perm(VIEW_SETTINGS):
            differs = await overview.differences(one["id"] for one in found["workers"])
        workers = [one | {"differs": differs.get(one["id"])} for one in found["workers"]]
        return {"at": found["at"], "workers": workers, "here": worker.id}
