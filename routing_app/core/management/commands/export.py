"""`manage.py export`: what operators have set up, as one YAML file without secrets."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """Writes the file, or prints it."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The file, and what is in it."""
        parser.add_argument("--output", metavar="FILE", default="", help="write it there, not to stdout")
        parser.add_argument(
            "--with-hashes", action="store_true", help="with the hashes that API keys are checked by"
        )
        parser.add_argument(
            "--without", metavar="LIST", action="append", default=[], help="leave a list out, such as tokens"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Export. Raises CommandError for a list that is unknown, and a file that cannot be written."""
        from routing_app.core.exports.applying import export, sections

        if unknown := set(options["without"]) - set(sections()):
            raise CommandError(f"--without: expected one of {', '.join(sections())}, but got {min(unknown)}")
        text = export(options["without"], options["with_hashes"])
        if not options["output"]:
            self.stdout.write(text, ending="")
            return
        try:
            _write(Path(options["output"]), text)
        except OSError as error:
            raise CommandError(f"cannot write {options['output']}: {error.strerror}") from None


def _write(path: Path, text: str) -> None:
    """A new file is for its owner alone; one that is there keeps its mode."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
