"""Unsafe settings: each is found, with what to set instead, and no finding holds a value."""

from __future__ import annotations

from typing import Any

import pytest

from routing_app.core.unsafe import unsafe_settings

pytestmark = pytest.mark.once

GOOD = "Zq3vT7yLw9XkP2rM8sNb5HcJ4gFd6AeU1iOoVtYx"
WEAK = "hunter2"

SAFE: dict[str, Any] = {
    "DEBUG": False,
    "ALLOWED_HOSTS": ["broker.example"],
    "SECURE_COOKIES": "auto",
    "CSRF_TRUSTED_ORIGINS": ["https://broker.example"],
    "TRUSTED_PROXIES": ["10.0.0.1", "unix"],
    "METRICS_OPEN": False,
    "WEBHOOKS_PRIVATE": False,
    "SECRET_KEY": GOOD,
    "SECRET_KEY_FALLBACKS": [GOOD[::-1]],
    "DATABASE_URL": f"postgres://switchboard:{GOOD}@db/switchboard",
    "ACCESS": {"tokens": "token", "rooms": "token"},
    "ORIGINS": {"tokens": ["self"], "rooms": ["https://one.example"]},
    "TOKENS_API_OPEN": False,
    "TOKENS_BROADCAST": "everyone",
    "TOKENS_ALLOW_UNREGISTERED": True,
    "ROOMS_BUS_TOKEN": GOOD,
    "EVENTS_TOKEN_SECRET": GOOD,
    "EVENTS_REGISTER": False,
    "EVENTS_SEND_TO_USERS": "authenticated",
    "EVENTS_SEND_TO_CLIENTS": "nobody",
    "EVENTS_SEND_TO_CHANNELS": "members",
    "SESSIONS_FAIL_MODE": "closed",
    "SESSIONS_PUBLIC_URL": "wss://broker.example",
}


@pytest.fixture
def safe(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Settings without a fault."""
    for name, value in SAFE.items():
        setattr(settings, name, value)
    monkeypatch.setenv("SWITCHBOARD_API_KEY", GOOD)
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", GOOD)
    return settings


def test_safe_settings_have_nothing_said_of_them(safe: Any) -> None:
    assert unsafe_settings() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", True),
        ("ALLOWED_HOSTS", ["one.example", "*"]),
        ("SECURE_COOKIES", "no"),
        ("CSRF_TRUSTED_ORIGINS", ["http://one.example"]),
        ("TRUSTED_PROXIES", ["10.0.0.0/8", "0.0.0.0/0"]),
        ("TRUSTED_PROXIES", ["::/0"]),
        ("METRICS_OPEN", True),
        ("WEBHOOKS_PRIVATE", True),
        ("SECRET_KEY", WEAK),
        ("SECRET_KEY", "ab" * 40),
        ("SECRET_KEY", f"django-insecure-{GOOD}"),
        ("SECRET_KEY_FALLBACKS", [GOOD, WEAK]),
        ("DATABASE_URL", "postgres://switchboard:switchboard@db/switchboard"),
        ("DATABASE_URL", "postgres://switchboard:postgres@db/switchboard"),
        ("TOKENS_API_OPEN", True),
        ("ROOMS_BUS_TOKEN", ""),
        ("ROOMS_BUS_TOKEN", WEAK),
        ("EVENTS_TOKEN_SECRET", "a" * 40),
        ("EVENTS_REGISTER", True),
        ("EVENTS_SEND_TO_USERS", "everyone"),
        ("EVENTS_SEND_TO_CLIENTS", "everyone"),
        ("EVENTS_SEND_TO_CHANNELS", "everyone"),
        ("SESSIONS_FAIL_MODE", "open"),
        ("SESSIONS_PUBLIC_URL", "ws://broker.example"),
    ],
)
def test_each_unsafe_setting_is_found(safe: Any, name: str, value: Any) -> None:
    setattr(safe, name, value)

    (found,) = unsafe_settings()

    assert found.name == name
    assert found.why
    assert found.advice
    assert WEAK not in str(found)


@pytest.mark.parametrize("name", ["SWITCHBOARD_API_KEY", "DJANGO_SUPERUSER_PASSWORD"])
@pytest.mark.parametrize("value", ["password1234", "xK9-q"])
def test_each_weak_secret_of_the_environment_is_found(
    safe: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    (found,) = unsafe_settings()

    assert found.name == name
    assert value not in str(found)


def test_open_access_and_any_origin_are_found_of_the_protocol_that_has_them(safe: Any) -> None:
    safe.ACCESS = {"tokens": "token", "rooms": "open"}
    safe.ORIGINS = {"tokens": ["self"], "events": ["*"]}

    assert {found.name for found in unsafe_settings()} == {"ROOMS_ACCESS", "EVENTS_ORIGINS"}


def test_broadcasts_of_everyone_are_found_where_everyone_may_connect(safe: Any) -> None:
    safe.ACCESS = {"tokens": "open"}

    assert {found.name for found in unsafe_settings()} == {"TOKENS_ACCESS", "TOKENS_BROADCAST"}
    safe.TOKENS_ALLOW_UNREGISTERED = False
    assert {found.name for found in unsafe_settings()} == {"TOKENS_ACCESS"}
