"""`manage.py gentoken --issuer NAME --sub U`, or `--publisher P --customer C`: a token."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.core.management.base import BaseCommand, CommandError

DEFAULT_TTL: Final = 900
"""Seconds; the customer tokens of the sessions protocol's original live 15 minutes."""


class Command(BaseCommand):
    """Prints a token that is signed with the newest shared secret of an issuer or a publisher."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The signer, the client, the lifetime, and what a kind of token has of its own."""
        from routing_app.core.issuers.kinds import token_kinds

        signers = parser.add_mutually_exclusive_group(required=True)
        for kind in reversed(token_kinds()):
            signers.add_argument(f"--{kind.signer_option}", help=f"who signs: makes a {kind.label}")
            own = parser.add_argument_group(kind.label)
            own.add_argument(f"--{kind.subject_option}", help="the client")
            kind.add_arguments(own)
        parser.add_argument("--ttl", type=int, default=DEFAULT_TTL, help=f"seconds ({DEFAULT_TTL})")

    def handle(self, *args: Any, **options: Any) -> None:
        """Sign. Raises CommandError where that is not possible, or the token would be refused."""
        from routing_app.core.issuers.kinds import token_kinds
        from routing_app.core.jwt.signing import CannotSign

        kind = next(kind for kind in token_kinds() if options[kind.signer_option] is not None)
        if options[kind.subject_option] is None:
            raise CommandError(f"--{kind.signer_option} needs --{kind.subject_option}")
        try:
            token = kind.sign(options[kind.signer_option], options["ttl"], options)
        except CannotSign as error:
            raise CommandError(str(error)) from None
        problems = async_to_sync(_problems)(kind, token)
        if problems:
            raise CommandError("; ".join(problems))
        self.stdout.write(token)


async def _problems(kind: Any, token: str) -> list[str]:
    """The parts that would be refused; that its time is over already may be what was wanted."""
    findings = [finding async for finding in kind.examine(token)]
    return [f"{part}: {problem}" for part, problem in findings if problem and part != "exp"]
