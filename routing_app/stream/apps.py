"""The stream protocol as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class StreamConfig(AppConfig):
    """Event streams over HTTP."""

    name = "routing_app.stream"
    label = "stream"
    verbose_name = "Stream protocol"
