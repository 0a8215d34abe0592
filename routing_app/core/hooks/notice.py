"""Has every process read the hooks, after one was changed."""

from __future__ import annotations

from routing_app.core.cluster.batching import EVERYBODY
from routing_app.core.hooks.hooks import HOOKS_CHANGED
from routing_app.core.publishing import publish
from routing_app.core.synchronous import from_sync
from routing_app.core.worker import current_worker


async def _tell() -> None:
    await publish((EVERYBODY,), None, event=HOOKS_CHANGED)
    # Here they hold before the caller goes on.
    await current_worker().hooks.read()


tell_hooks_changed = from_sync(_tell)
"""Tell all processes; one that does not receive that reads them within a few seconds anyway."""
