"""The requests protocol as a Django app; it finds the handlers of every other app."""

from __future__ import annotations

from django.apps import AppConfig


class RequestsConfig(AppConfig):
    """Handlers by type, their socket, and connections that any process may ask."""

    name = "routing_app.requests"
    label = "requests"
    verbose_name = "Requests protocol"

    def ready(self) -> None:
        """Import the built-in handlers, and the `requests.py` of every installed app."""
        from django.utils.module_loading import autodiscover_modules

        from routing_app.requests import builtin  # noqa: F401 - registers its handlers

        autodiscover_modules("requests")
