"""`manage.py codes`: every close code and every reason that metrics name, as Markdown tables."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from django.core.management.base import BaseCommand

from routing_app.core.codes import CLOSES, Close, Loss, Refusal


def tables() -> str:
    """The tables of all codes, as docs/codes.md holds them."""
    closes = sorted(CLOSES, key=lambda close: close.code)
    return "\n".join(
        [
            "| code | name | reason on the wire | what a client does | under plain Daphne |",
            "|---|---|---|---|---|",
            *(_row(close) for close in closes if not close.before_accept),
            "",
            "Refused before the connection is open, and so seen by its status alone:",
            "",
            "| status | name | reason | what a client does | under plain Daphne |",
            "|---|---|---|---|---|",
            *(_status_row(close) for close in closes if close.before_accept),
            "",
            _reasons("lost", Loss),
            "",
            _reasons("refused", Refusal),
        ]
    )


def _row(close: Close) -> str:
    elsewhere = close.portable or ""
    return f"| {close.code} | `{close.name}` | {close.reason} | {close.advice} | {elsewhere} |"


def _status_row(close: Close) -> str:
    return f"| {close.status} | `{close.name}` | {close.reason} | {close.advice} | 403 |"


def _reasons(metric: str, reasons: type[StrEnum]) -> str:
    names = ", ".join(f"`{reason}`" for reason in reasons)
    return f"`switchboard_{metric}_total` counts by `reason`: {names}."


class Command(BaseCommand):
    """Prints the tables."""

    help = "List every close code, and every reason for which something is lost or refused."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the tables."""
        self.stdout.write(tables())
