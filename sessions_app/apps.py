"""Session control as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class SessionsConfig(AppConfig):
    """Publishers, their limits, live sessions and what became of them."""

    name = "sessions_app"
    label = "sessions_app"  # Django's own sessions have the label "sessions"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Session control"
