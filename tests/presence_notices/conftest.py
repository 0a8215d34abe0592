"""A fixture of all tests of presence notices."""

from __future__ import annotations

import pytest

from routing_app.core.cluster import subscriptions


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer to confirm a subscription than is waited for it."""
    monkeypatch.setattr(subscriptions, "CONFIRM_SECONDS", 30.0)
