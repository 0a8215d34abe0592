"""Session control as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class SessionsConfig(AppConfig):
    """Publishers, their limits, live sessions and what became of them."""

    name = "sessions_app"
    label = "sessions_app"  # Django's own sessions have the label "sessions"
    verbose_name = "Session control"

    def ready(self) -> None:
        """Have every serving process sweep."""
        from routing_app.core.worker import on_start
        from sessions_app.sweep import start

        on_start(start)
