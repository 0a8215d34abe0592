"""The project as an app: its management commands and its checks."""

from __future__ import annotations

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """Makes `manage.py serve` known and registers the checks of the stack."""

    name = "broker_project"
    label = "broker_project"

    def ready(self) -> None:
        """Register the system checks, and find the protocols of the installed apps."""
        from broker_project import checks, protocols  # noqa: F401

        protocols.load()
