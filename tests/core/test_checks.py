"""The stack that would break us is refused at the start."""

from __future__ import annotations

import pytest
import redis
from django.core.checks import Error, run_checks

from routing_app.broker.checks import redis_py_below_8

pytestmark = pytest.mark.once


@pytest.mark.parametrize("version", ["8.0.0", "8.1.0", "10.0.1", "8.0.0b1"])
def test_redis_py_8_is_an_error(monkeypatch: pytest.MonkeyPatch, version: str):
    """Its socket timeout of 5 s ends idle layer connections: 181 of 300 members stayed as ghosts."""
    monkeypatch.setattr(redis, "__version__", version)
    [error] = [message for message in run_checks() if message.id == "switchboard.E001"]

    assert isinstance(error, Error)
    assert version in error.msg
    assert "redis>=7.4.1,<8" in str(error.hint)


@pytest.mark.parametrize("version", ["7.4.1", "7.4.99", "7.5"])
def test_redis_py_7_is_fine(monkeypatch: pytest.MonkeyPatch, version: str):
    monkeypatch.setattr(redis, "__version__", version)

    assert redis_py_below_8() == []


def test_the_redis_py_installed_here_is_fine():
    assert redis_py_below_8() == []
