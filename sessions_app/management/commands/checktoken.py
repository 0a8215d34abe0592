"""`manage.py checktoken TOKEN`: why a customer token is refused, claim by claim."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """Looks at every part of a customer token; exit code 1 when it would be refused."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The token, or `-` to read it from stdin, where no process list shows it."""
        parser.add_argument("token")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print one line for each part. Raises CommandError when the token would be refused."""
        from sessions_app.customers import examine
        from sessions_app.jwks import KeysUnavailable
        from sessions_app.publishers import load

        token = sys.stdin.read() if options["token"] == "-" else options["token"]  # noqa: S105
        refused = False
        try:
            for part, problem in examine(token.strip(), load):
                refused = refused or bool(problem)
                self.stdout.write(f"{part}: {problem or 'ok'}")
        except KeysUnavailable as error:
            raise CommandError(str(error)) from None
        if refused:
            raise CommandError("this token is refused")
