"""The chat as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class ChatConfig(AppConfig):
    """Walkers and a page; no rows."""

    name = "examples.chat"
    label = "chat"
