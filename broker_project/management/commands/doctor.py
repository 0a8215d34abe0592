"""`manage.py doctor`: what this machine, its settings and its services lack, and what to do about it."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand

from broker_project.doctor.examination import examine


class Command(BaseCommand):
    """Prints a line for each check. Exit code 0: all well; 1: warnings; 2: errors."""

    help = __doc__
    requires_system_checks: tuple[str, ...] = ()  # they are one of the checks

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The options."""
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
        parser.add_argument(
            "--url",
            type=_url,
            default="",
            help="where clients reach the server: to check its certificate, and that addresses arrive",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Check, print, and exit."""
        report = examine(options["url"])
        self.stdout.write(report.json if options["json"] else report.lines)
        sys.exit(report.exit_code)


def _url(word: str) -> str:
    if word and not word.startswith(("http://", "https://")):
        raise ArgumentTypeError("expected http://host or https://host")
    return word
