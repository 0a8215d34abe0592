"""Labels of apps: a project may have none that the broker's apps have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from routing_app.broker.project import APPS

PAGE: Final = "docs/embedding.md#labels"


def check(entries: Sequence[str | AppConfig], made: Iterable[AppConfig]) -> None:
    """Raise ImproperlyConfigured for an app that has the label of one of ours.

    `entries` are INSTALLED_APPS, `made` the apps that stand before ours, and have been made from them.
    """
    ours = {config.label: config.name for config in map(import_string, APPS)}
    behind = [one for one in entries[_first(entries) :] if one not in APPS]
    others = [*made, *(one if isinstance(one, AppConfig) else AppConfig.create(one) for one in behind)]
    for other in others:
        name = ours.get(other.label)
        if name is not None and name != other.name:
            raise ImproperlyConfigured(
                f"INSTALLED_APPS: {other.name} has the label {other.label!r}, as the broker's {name} has. "
                f'Give yours another one, such as `label = "my_{other.label}"` in its AppConfig: {PAGE}'
            )


def _first(entries: Sequence[str | AppConfig]) -> int:
    """The place of the first app of ours."""
    return next((at for at, one in enumerate(entries) if one in APPS), len(entries))
