"""The rooms protocol as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class RoomsConfig(AppConfig):
    """Rooms, their members, and the sockets that join them."""

    name = "routing_app.rooms"
    label = "rooms"
    default_auto_field = "django.db.models.BigAutoField"
