"""`manage.py` in a process whose wall clock steps: SIGUSR1 an hour forward, SIGUSR2 an hour back.

The monotonic clock goes on, as it does where an operator or NTP sets a clock.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime, timedelta

import time_machine
from django.core.management import execute_from_command_line

HOUR = timedelta(hours=1)


def main() -> None:
    """Run Django's command line with a clock that the signals step."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "broker_project.settings")
    with time_machine.travel(datetime.now(UTC), tick=True) as clock:
        signal.signal(signal.SIGUSR1, lambda *_: clock.shift(HOUR))
        signal.signal(signal.SIGUSR2, lambda *_: clock.shift(-HOUR))
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
