"""`manage.py createpublisher NAME`: a publisher with a new secret, which is printed once."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """Makes a publisher and prints the secret that its customers' tokens are signed with, this once."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The name."""
        parser.add_argument("name", help="the publisherId of customer tokens")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it. Raises CommandError when the name cannot be used."""
        from sessions_app.provisioning import create_publisher

        try:
            publisher, secret = create_publisher(options["name"])
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stdout.write(f"publisher: {publisher.name}\nsecret:    {secret}")
