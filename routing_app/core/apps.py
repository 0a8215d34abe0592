"""The core as a Django app: worker leases, connections and API keys."""

from __future__ import annotations

from django.apps import AppConfig


class CoreConfig(AppConfig):
    """Rows every protocol shares."""

    name = "routing_app.core"
    label = "core"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Server"

    def ready(self) -> None:
        """Tell the OpenAPI document about API keys."""
        from routing_app.core.rest import schema  # noqa: F401
