"""The tokens protocol as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class TokensConfig(AppConfig):
    """Registered tokens, their socket and their form API."""

    name = "routing_app.tokens"
    label = "tokens"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Tokens protocol"
