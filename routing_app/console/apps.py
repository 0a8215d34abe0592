"""The console as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """Pages for staff, and a socket with the numbers on them."""

    name = "routing_app.console"
    label = "console"
    verbose_name = "Console"
