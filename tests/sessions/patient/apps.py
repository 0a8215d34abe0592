from __future__ import annotations

from typing import Final

from django.apps import AppConfig

SECONDS: Final = 120.0
"""A command may wait so long for the database: 200 at once take turns on a slow machine."""


class PatientConfig(AppConfig):
    name = "tests.sessions.patient"
    label = "sessions_patient"

    def ready(self) -> None:
        """Wait longer than the product does."""
        from sessions_app import coordinator

        coordinator.DATABASE_TIMEOUT_SECONDS = SECONDS  # type: ignore[misc]
