"""`manage.py checktoken TOKEN`: why a customer token is refused, claim by claim."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """Looks at every part of a customer token; exit code 1 when it would be refused."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The token, or `-` to read it from stdin, where no process list shows it."""
        parser.add_argument("token")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print one line for each part. Raises CommandError when the token would be refused."""
        from sessions_app.jwks import KeysUnavailable

        token = sys.stdin.read() if options["token"] == "-" else options["token"]  # noqa: S105
        try:
            refused = async_to_sync(self._examine)(token.strip())
        except KeysUnavailable as error:
            raise CommandError(str(error)) from None
        if refused:
            raise CommandError("this token is refused")

    async def _examine(self, token: str) -> bool:
        """Print, and say whether a part was wrong."""
        from sessions_app.access import examine
        from sessions_app.publishers import load

        refused = False
        async for part, problem in examine(token, sync_to_async(load)):
            refused = refused or bool(problem)
            self.stdout.write(f"{part}: {problem or 'ok'}")
        return refused
