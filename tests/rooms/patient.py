"""Has the servers that install it wait for each other as long as a busy machine may need.

By itself a worker takes another one for gone that was silent for three seconds.
"""

from __future__ import annotations

from typing import Final

from django.apps import AppConfig

PATIENT: Final = "tests.rooms.patient.PatientConfig"
"""Value of EXTRA_APPS."""
SECONDS: Final = 30.0


class PatientConfig(AppConfig):
    """Sets the constants of a server as it starts."""

    name = "tests.rooms.patient"
    label = "rooms_patient"

    def ready(self) -> None:
        from routing_app.core.cluster import liveness, subscriptions
        from routing_app.engineio.socketio import elsewhere
        from routing_app.rooms import lobbies

        for module, constant in (
            (liveness, "GONE_SECONDS"),
            (subscriptions, "CONFIRM_SECONDS"),
            (elsewhere, "RESUME_SECONDS"),
            (elsewhere, "SILENCE_SECONDS"),
            (lobbies, "ADMISSION_SECONDS"),
        ):
            setattr(module, constant, SECONDS)
