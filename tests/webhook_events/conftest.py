"""A process that knows no webhook before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from routing_app.core.webhooks.known import webhooks


@pytest.fixture(autouse=True)
def no_webhooks() -> Iterator[None]:
    """Forget those of the test before, whose rows are gone."""
    webhooks.all = ()
    webhooks.forget()
    yield
    webhooks.all = ()
    webhooks.forget()
