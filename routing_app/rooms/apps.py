"""The rooms line as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class RoomsConfig(AppConfig):
    """Rooms, their members, and the sockets that join them."""

    name = "routing_app.rooms"
    label = "rooms"

    def ready(self) -> None:
        """Register what runs beside the sockets of a serving process."""
        from routing_app.rooms import upkeep  # noqa: F401
