"""Session control as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class SessionsConfig(AppConfig):
    """Publishers, their limits, live sessions and what became of them."""

    name = "sessions_app"
    label = "sessions_app"  # Django's own sessions have the label "sessions"
    verbose_name = "Session control"

    def ready(self) -> None:
        """Have every serving process sweep, and stop its players before its lease and their grace are
        over."""
        from django.conf import settings

        from routing_app.core.presence import keep_workers
        from routing_app.core.worker import on_start
        from sessions_app import fence, sweep

        keep_workers(settings.SESSIONS_GRACE_SECONDS)
        on_start(sweep.start)
        on_start(fence.start)
