"""Has every process read the rules of addresses, after one was changed."""

from __future__ import annotations

from routing_app.core.cluster.batching import EVERYBODY
from routing_app.core.publishing import publish_sync
from routing_app.core.streams.streams import RULES_CHANGED


def tell_rules_changed() -> None:
    """Tell all processes; one that does not receive that reads them within a few seconds anyway."""
    publish_sync((EVERYBODY,), None, event=RULES_CHANGED)
