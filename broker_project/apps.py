"""The project as an app: its management commands."""

from __future__ import annotations

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """Makes `manage.py serve` known."""

    name = "broker_project"
    label = "broker_project"
