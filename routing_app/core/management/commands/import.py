"""`manage.py import FILE`: make the rows of a file of `export` hold, all of them or none."""

from __future__ import annotations

import logging
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """Imports a file, and says what has changed."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The file, and how far it goes."""
        parser.add_argument("source", metavar="FILE", help="a file that `export` has written; -: stdin")
        parser.add_argument("--dry-run", action="store_true", help="change nothing, and say what would")
        parser.add_argument(
            "--prune", action="store_true", help="delete rows that the lists of the file do not have"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Import. Raises CommandError, with a line of the file for each error; nothing is changed then."""
        from routing_app.core.audit.actor import command_line
        from routing_app.core.exports.applying import ImportProblem, apply, sections
        from routing_app.core.exports.document import DocumentProblem, load

        source = options["source"]
        try:
            document = load(_read(source), sections())
            with _said_once():
                summary = apply(document, command_line(), options["prune"], options["dry_run"])
        except DocumentProblem as problem:
            raise CommandError(f"{source}:{problem}") from None
        except ImportProblem as problem:
            lines = "\n".join(f"{source}:{error}" for error in problem.errors)
            raise CommandError(f"{lines}\nnothing was changed") from None
        for line in summary.changes:
            self.stdout.write(str(line))
        for missing in summary.missing:
            self.stdout.write(f"not in the file: {missing}")
        for secret in summary.secrets:
            self.stdout.write(f"new secret, shown this once: {secret}")
        self.stdout.write(f"{summary}{'; nothing was changed: --dry-run' if options['dry_run'] else ''}")


@contextmanager
def _said_once() -> Iterator[None]:
    """Without REDIS_URL each list would have the log say that a command reaches no server."""
    logger, seen = logging.getLogger("routing_app.core.publishing"), set[str]()

    def first(record: logging.LogRecord) -> bool:
        is_new = record.msg not in seen
        seen.add(record.msg)
        return is_new

    logger.addFilter(first)
    try:
        yield
    finally:
        logger.removeFilter(first)


def _read(source: str) -> str:
    try:
        return sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"cannot read {source}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{source}: expected UTF-8") from None
