"""Two workers that share a page of metrics and write their log as JSON."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.events.client import TOKEN_SECRET
from tests.metrics.page import Page
from tests.requests.serving import serving
from tests.services.databases import Databases


@pytest.fixture(scope="package")
def page(databases: Databases, tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Page]:
    options = {
        "WORKERS": "2",
        "REDIS_URL": redis_url,
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "DEBUG",
        "METRICS_OPEN": "yes",
        "EXTRA_APPS": "tests.requests.app,tests.events.app",
        "EVENTS_TOKEN_SECRET": TOKEN_SECRET,
        "WEBHOOKS_PRIVATE": "yes",
    }
    with serving(databases, tmp_path_factory, **options) as server:
        yield Page(server)
