"""`manage.py gentoken --publisher P --customer C [--ttl SECONDS]`: a customer token."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

DEFAULT_TTL: Final = 900
"""Seconds; the original's customer tokens live 15 minutes."""


class Command(BaseCommand):
    """Prints a customer token that is signed with the publisher's newest shared secret."""

    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The customer, and the lifetime."""
        parser.add_argument("--publisher", required=True)
        parser.add_argument("--customer", required=True)
        parser.add_argument("--ttl", type=int, default=DEFAULT_TTL, help=f"seconds ({DEFAULT_TTL})")

    def handle(self, *args: Any, **options: Any) -> None:
        """Sign. Raises CommandError where that is not possible."""
        from sessions_app.models import Publisher
        from sessions_app.provisioning import NoSecret, customer_token

        try:
            publisher = Publisher.objects.get(name=options["publisher"])
            token = customer_token(publisher, options["customer"], options["ttl"])
        except Publisher.DoesNotExist:
            raise CommandError(f"there is no publisher {options['publisher']}") from None
        except NoSecret as error:
            raise CommandError(str(error)) from None
        self.stdout.write(token)
