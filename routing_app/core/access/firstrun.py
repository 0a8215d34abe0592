"""The first start of a server: an admin user and an API key, printed once."""

from __future__ import annotations

import os
import secrets

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from routing_app.core.access import keys
from routing_app.core.audit.actor import command_line
from routing_app.core.audit.calls import target_of
from routing_app.core.audit.entries import record
from routing_app.core.models import ApiKey


def prepare() -> list[str]:
    """Make what is missing and return the lines to print; none when nothing was missing.

    `DJANGO_SUPERUSER_USERNAME`, `DJANGO_SUPERUSER_PASSWORD` and `SWITCHBOARD_API_KEY` preset them; what was
    preset is not printed. Raises ImproperlyConfigured when the preset key is too short; nothing is made then.
    """
    with transaction.atomic():
        return [*_first_user(), *_first_key()]


def _first_user() -> list[str]:
    users = get_user_model()
    if users._default_manager.filter(is_superuser=True).exists():
        return []
    name = os.environ.get("DJANGO_SUPERUSER_USERNAME") or "admin"
    preset = os.environ.get("DJANGO_SUPERUSER_PASSWORD")
    password = preset or secrets.token_urlsafe(12)
    user = users._default_manager.create_superuser(username=name, password=password)
    record("create", target_of(user, user.pk), actor=command_line())
    return [f"admin user:  {name}", f"password:    {'as preset' if preset else password}"]


def _first_key() -> list[str]:
    if ApiKey.objects.exists():
        return []
    preset = os.environ.get("SWITCHBOARD_API_KEY", "")
    try:
        row, plain = keys.issue("first run", plain=preset)
    except keys.KeyTooShort as error:
        raise ImproperlyConfigured(f"SWITCHBOARD_API_KEY: {error}") from None
    record("create", target_of(row, row.pk), actor=command_line())
    return [f"API key:     {'as preset' if preset else plain}"]
