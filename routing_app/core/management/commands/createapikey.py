"""`manage.py createapikey NAME --scopes publish read`: an API key, printed this once."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from routing_app.core.models import Scope


class Command(BaseCommand):
    """Makes an API key, as `POST /api/keys/` does, and prints it alone on a line."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What a key is called, and what it allows."""
        parser.add_argument("name", help="who uses it, for people")
        parser.add_argument(
            "--scopes",
            nargs="+",
            default=[Scope.PUBLISH, Scope.READ],
            help=f"some of {', '.join(Scope.values)}; by default publish and read",
        )
        parser.add_argument(
            "--addresses",
            nargs="+",
            default=[],
            metavar="PATTERN",
            help="addresses, or prefixes with a final *; by default all",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Make the key, with its entry in the audit log. Raises CommandError for what REST would refuse."""
        from routing_app.core.audit.actor import command_line
        from routing_app.core.audit.calls import target_of
        from routing_app.core.audit.entries import record
        from routing_app.core.rest.keys import KeySerializer

        wanted = {name: _split(options[name]) for name in ("scopes", "addresses")}
        serializer = KeySerializer(data={"name": options["name"], **wanted})
        if not serializer.is_valid():
            raise CommandError("; ".join(_sentences(serializer.errors)))
        with transaction.atomic():
            row = serializer.save()
            record("create", target_of(row, row.pk), actor=command_line())
        self.stdout.write(serializer.plain)


def _split(words: list[str]) -> list[str]:
    """Words that may have commas between them as well."""
    return [part for word in words for part in word.split(",") if part]


def _sentences(errors: Any) -> list[str]:
    """What is wrong, by field; errors of an item of a list stand under its number."""
    found = []
    for field, problems in errors.items():
        lists = problems.values() if isinstance(problems, dict) else [problems]
        found += [f"{field}: {problem}" for some in lists for problem in some]
    return found
