"""A fixture of all tests of presence notices."""

from __future__ import annotations

import pytest

from routing_app.core.cluster import relay, subscriptions


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer for all that waits for the layer, which is never out here."""
    for name in ("RETRY_SECONDS", "NOTICE_SECONDS"):
        monkeypatch.setattr(relay, name, 30.0)
    monkeypatch.setattr(subscriptions, "CONFIRM_SECONDS", 30.0)
