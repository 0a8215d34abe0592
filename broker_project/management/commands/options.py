"""`manage.py options`: every setting, its default and what it does, as a Markdown table."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from routing_app.broker.environment import Option


def table() -> str:
    """The table of all settings, as README.md holds it."""
    rows = [_row(option) for option in settings.SWITCHBOARD_ENVIRONMENT.options]
    return "\n".join(["| variable | default | what it does |", "|---|---|---|", *rows])


def _row(option: Option) -> str:
    default = option.default.replace(str(settings.BASE_DIR) + "/", "")
    return f"| `{option.name}` | {f'`{default}`' if default else ''} | {option.help} |"


class Command(BaseCommand):
    """Prints the table."""

    help = "List every setting that the environment can change."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the table."""
        self.stdout.write(table())
