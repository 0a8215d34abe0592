"""The requests protocol as a Django app; it finds the handlers of every other app."""

from __future__ import annotations

from django.apps import AppConfig


class RequestsConfig(AppConfig):
    """Handlers by type, their socket, and connections that any process may ask."""

    name = "routing_app.requests"
    label = "requests"
    verbose_name = "Requests protocol"

    def ready(self) -> None:
        """Import every installed app's `requests.py`, as the admin imports `admin.py`."""
        from django.utils.module_loading import autodiscover_modules

        autodiscover_modules("requests")
