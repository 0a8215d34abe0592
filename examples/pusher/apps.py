"""The example as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class PusherConfig(AppConfig):
    """Public channels of Pusher."""

    name = "examples.pusher"
    label = "pusher"
    verbose_name = "Pusher"
