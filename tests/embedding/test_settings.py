"""`switchboard.settings()`: what a project has set before wins, and has what the broker needs beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.checks import Error
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver, get_resolver

import switchboard
from routing_app.broker.checks import channel_layer_is_ours
from routing_app.core.rest.views import OfBroker

pytestmark = pytest.mark.once


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The settings of a project, in whose environment others are set."""
    monkeypatch.setenv("MAX_RECEIVERS", "7")
    monkeypatch.setenv("MAX_OUTBOX_FRAMES", "70")
    return {"VAR_DIR": tmp_path, "SECRET_KEY": "x" * 50, "REDIS_URL": "", "DATABASE_URL": ""}


def test_a_name_of_the_project_wins_over_the_environment(own: dict[str, Any]) -> None:
    made = switchboard.settings({**own, "MAX_RECEIVERS": 3, "TRUSTED_PROXIES": ["10.0.0.1", "10.0.0.2"]})

    assert (made["MAX_RECEIVERS"], made["MAX_OUTBOX_FRAMES"]) == (3, 70)
    assert made["TRUSTED_PROXIES"] == ["10.0.0.1", "10.0.0.2"]


def test_a_wrong_value_of_the_project_is_refused_by_its_name(own: dict[str, Any]) -> None:
    with pytest.raises(ImproperlyConfigured, match="^MAX_RECEIVERS: expected a whole number"):
        switchboard.settings({**own, "MAX_RECEIVERS": "many"})


def test_what_is_made_of_a_name_follows_the_project(own: dict[str, Any]) -> None:
    made = switchboard.settings({**own, "REDIS_URL": "redis://localhost/3"})

    assert made["CHANNEL_LAYERS"]["default"]["BACKEND"].endswith("RedisLayer")
    assert made["CACHES"]["default"]["LOCATION"] == ["redis://localhost/3"]


def test_the_names_of_the_module_that_calls_are_those_of_the_project(own: dict[str, Any]) -> None:
    module: dict[str, Any] = {**own, "MAX_RECEIVERS": 3}
    exec("import switchboard; made = switchboard.settings()", module)

    assert module["made"]["MAX_RECEIVERS"] == 3


def test_what_django_has_stays_with_the_broker_beside_it(own: dict[str, Any]) -> None:
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": "db", "OPTIONS": {"timeout": 1}}
    made = switchboard.settings(
        {
            **own,
            "DATABASES": {"default": sqlite, "other": {"ENGINE": "x"}},
            "MIDDLEWARE": ["first", "last"],
            "REST_FRAMEWORK": {"PAGE_SIZE": 5},
            "CHANNEL_LAYERS": {"default": {"BACKEND": "theirs"}},
        }
    )

    options = made["DATABASES"]["default"]["OPTIONS"]
    assert (options["timeout"], options["transaction_mode"]) == (1, "IMMEDIATE")
    assert made["DATABASES"]["other"] == {"ENGINE": "x"}
    assert made["MIDDLEWARE"][1:3] == ["first", "last"]
    assert made["REST_FRAMEWORK"].keys() == {"PAGE_SIZE", "DEFAULT_SCHEMA_CLASS"}
    assert made["CHANNEL_LAYERS"] == {"default": {"BACKEND": "theirs"}}


def test_another_channel_layer_is_an_error_of_check(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    [found] = channel_layer_is_ours()

    assert isinstance(found, Error)
    assert found.id == "switchboard.E002"


def test_no_view_of_rest_takes_its_rules_from_the_project() -> None:
    views = [view.cls for view in _views(get_resolver("routing_app.broker.urls")) if hasattr(view, "cls")]

    assert len(views) > 20
    assert [view for view in views if not issubclass(view, OfBroker)] == []


def _views(pattern: URLResolver | URLPattern) -> list[Any]:
    if isinstance(pattern, URLPattern):
        return [pattern.callback]
    return [view for one in pattern.url_patterns for view in _views(one)]
