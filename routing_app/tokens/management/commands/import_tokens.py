"""`manage.py import_tokens URL|FILE`: add and update registered tokens from a table."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from routing_app.tokens import imports
from routing_app.tokens.service import close_after_commit


class Command(BaseCommand):
    """Imports one table."""

    help = 'Import tokens from a JSON object such as {"abc1": true, "group/item1": false}.'

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The argument: the place of the table."""
        parser.add_argument("source", metavar="URL|FILE", help="http:, https: or file: URL, or a path")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import; nothing changes unless a whole table could be read."""
        try:
            rows = imports.read(options["source"])
        except imports.TableError as error:
            raise CommandError(f"{imports.location(options['source'])}: {error}") from None
        outcome = imports.store(rows)
        close_after_commit(outcome.revoked)
        for skipped in outcome.skipped:
            self.stdout.write(f"skipped {skipped}")
        self.stdout.write(str(outcome))
