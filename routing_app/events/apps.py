"""The events protocol as a Django app; it finds the walkers of every other app."""

from __future__ import annotations

from django.apps import AppConfig


class EventsConfig(AppConfig):
    """Roots, login tokens, channels, walkers and their socket."""

    name = "routing_app.events"
    label = "events"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Events"

    def ready(self) -> None:
        """Import every installed app's `walkers.py`, as the admin imports `admin.py`."""
        from django.utils.module_loading import autodiscover_modules

        from routing_app.events import schema, signals  # noqa: F401

        autodiscover_modules("walkers")
