"""`manage.py metrics`: everything that /metrics shows of this server, as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final

from django.core.management.base import BaseCommand

from routing_app.core.described import LISTED, Described

TITLES: Final = {"counter": "Counters", "gauge": "Gauges", "histogram": "Histograms, in seconds"}


def tables() -> str:
    """The tables of all metrics, as docs/metrics.md holds them."""
    ours = sorted(LISTED.values(), key=lambda one: (one.kind, one.name))
    return "\n\n".join(_table(TITLES[kind], some) for kind, some in groupby(ours, lambda one: one.kind))


def _table(title: str, metrics: Iterable[Described]) -> str:
    return "\n".join(
        [
            f"## {title}",
            "",
            "| name | labels | |",
            "|---|---|---|",
            *(f"| `{one.name}` | {_labels(one)} | {one.text} |" for one in metrics),
        ]
    )


def _labels(metric: Described) -> str:
    return " ".join(f"`{label}`" for label in metric.labels)


class Command(BaseCommand):
    """Prints the tables."""

    help = "List everything that /metrics shows of this server."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the tables."""
        self.stdout.write(tables())
