"""The values of metrics in this process, read once a second without the texts that a page of metrics has."""

from __future__ import annotations

from typing import Any

from routing_app.core.protocol import find
from routing_app.core.tally import Tally


def values(metric: Any) -> dict[tuple[str, ...], float]:
    """The values of a counter or a gauge by their labels.

    `prometheus_client` has no call for that but `collect`, which makes two samples of each value: with a
    hundred of them a millisecond. With several processes its values are those of this process.
    """
    if isinstance(metric, Tally):
        return metric.values()
    if not metric._labelnames:
        return {(): metric._value.get()}
    return {labels: child._value.get() for labels, child in list(metric._metrics.items())}


def total(metric: Any) -> float:
    """The value of a metric without labels."""
    return values(metric).get((), 0.0)


def of_clients(found: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    """The values whose first label is not a protocol of operators."""
    return {labels: value for labels, value in found.items() if is_of_clients(labels[0])}


def by_label(found: dict[tuple[str, ...], float], place: int) -> dict[str, float]:
    """Sums by one label; labels without a value other than 0 are left out."""
    sums: dict[str, float] = {}
    for labels, value in found.items():
        if value:
            sums[labels[place]] = sums.get(labels[place], 0.0) + value
    return sums


def is_of_clients(protocol: str) -> bool:
    """True for a protocol whose connections are clients, and for what is not a protocol (REST)."""
    owner = find(protocol)
    return owner is None or not owner.of_operators
