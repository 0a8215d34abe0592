from __future__ import annotations

from typing import Final

from django.apps import AppConfig

SECONDS: Final = 120.0
"""A command may wait so long for the database, where 200 at once take turns on a slow machine, and a probe
for the answer of another worker, which may stand still."""
MOMENT_SECONDS: Final = 5.0
"""A message that says why a player has to stop may be so late."""


class PatientConfig(AppConfig):
    name = "tests.sessions.patient"
    label = "sessions_patient"

    def ready(self) -> None:
        """Wait longer than the product does."""
        from sessions_app import coordinator, service, sweep

        for module in (coordinator, service):
            module.DATABASE_TIMEOUT_SECONDS = SECONDS  # type: ignore[attr-defined]
        coordinator.TRANSIT_SECONDS = SECONDS  # type: ignore[misc]
        sweep.MOMENT_SECONDS = MOMENT_SECONDS  # type: ignore[misc]
