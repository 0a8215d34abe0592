"""The first start: a user and a key, printed once; presets are taken and not repeated."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured

from routing_app.core.access import keys
from routing_app.core.access.firstrun import prepare
from routing_app.core.models import ApiKey

pytestmark = pytest.mark.django_db

PRESETS = ("DJANGO_SUPERUSER_USERNAME", "DJANGO_SUPERUSER_PASSWORD", "SWITCHBOARD_API_KEY")


@pytest.fixture(autouse=True)
def no_presets(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    # A password's hash is slow on purpose, and none of these tests is about that.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    for name in PRESETS:
        monkeypatch.delenv(name, raising=False)


def printed(lines: list[str]) -> dict[str, str]:
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_the_printed_key_works_and_is_printed_once():
    lines = printed(prepare())

    assert User.objects.get(username=lines["admin user"], is_superuser=True).check_password(lines["password"])
    found = keys.find(lines["API key"])
    assert found is not None
    assert len(lines["password"]) >= 16
    assert prepare() == []
    assert (User.objects.count(), ApiKey.objects.count()) == (1, 1)


def test_presets_are_taken_and_not_printed(monkeypatch: pytest.MonkeyPatch):
    for name, value in zip(PRESETS, ("root", "correct horse", "sixteen-letters!"), strict=True):
        monkeypatch.setenv(name, value)
    lines = prepare()

    assert User.objects.get(username="root").check_password("correct horse")
    assert keys.find("sixteen-letters!") is not None
    assert "correct horse" not in str(lines)
    assert "sixteen-letters!" not in str(lines)
    assert prepare() == []


def test_a_preset_that_is_too_short_is_named_and_nothing_is_made(monkeypatch: pytest.MonkeyPatch):
    """The password of a user that was made all the same would never be seen by anybody."""
    monkeypatch.setenv("SWITCHBOARD_API_KEY", "short")
    with pytest.raises(ImproperlyConfigured, match=r"^SWITCHBOARD_API_KEY: .*16 characters$"):
        prepare()
    assert not User.objects.exists()

    monkeypatch.delenv("SWITCHBOARD_API_KEY")
    assert set(printed(prepare())) == {"admin user", "password", "API key"}


def test_existing_users_and_keys_are_left_alone():
    User.objects.create_superuser("boss", password="kept")
    keys.issue("old")
    assert prepare() == []

    User.objects.all().delete()
    assert set(printed(prepare())) == {"admin user", "password"}
