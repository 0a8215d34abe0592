"""`manage.py checktoken TOKEN`: why a token is refused, claim by claim."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from asgiref.sync import async_to_sync
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """Says which kind of token it is, and looks at every part; exit code 1 when it would be refused."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The token, or `-` to read it from stdin, where no process list shows it."""
        parser.add_argument("token", help="an access token or a customer token; - reads it from stdin")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print one line for each part. Raises CommandError when the token would be refused."""
        from routing_app.core.jwt.jwks import KeysUnavailable

        token = sys.stdin.read() if options["token"] == "-" else options["token"]  # noqa: S105
        try:
            refused = async_to_sync(self._examine)(token.strip())
        except KeysUnavailable as error:
            raise CommandError(str(error)) from None
        if refused:
            raise CommandError("this token is refused")

    async def _examine(self, token: str) -> bool:
        """Print, and say whether a part was wrong."""
        from routing_app.core.issuers.kinds import token_kinds
        from routing_app.core.jwt.token import TokenRefused, read

        try:
            claims = read(token).claims
        except TokenRefused as unreadable:
            self.stdout.write(str(unreadable))
            return True
        kinds = token_kinds()
        kind = next((kind for kind in kinds if kind.names_signer(claims)), None)
        if kind is None:
            names = " or ".join(f"{kind.signer_claim} ({kind.label})" for kind in kinds)
            self.stdout.write(f"kind: expected the claim {names}")
            return True
        self.stdout.write(f"kind: {kind.label}")
        refused = False
        async for part, problem in kind.examine(token):
            refused = refused or bool(problem)
            self.stdout.write(f"{part}: {problem or 'ok'}")
        return refused
