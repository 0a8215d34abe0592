"""The settings of this process as operators may see them: no secret, but whether it is set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from django.conf import settings

from routing_app.core.unsafe import unsafe_settings

SECRET: Final = re.compile(r"(SECRET|PASSWORD|TOKEN|KEY|FALLBACKS)$")
"""Names of settings whose values are secrets."""
LOGIN: Final = re.compile(r"//[^/]*@")
"""A URL with a user or a password."""
SET, NOT_SET = "set", "not set"


def is_secret(name: str, value: str) -> bool:
    """True for a value that is shown to nobody."""
    return bool(SECRET.search(name) or LOGIN.search(value))


def described() -> list[dict[str, Any]]:
    """Every setting: `name`, `value`, `default`, `source`, `help`, `unsafe` (why, or ""), `advice`."""
    unsafe = {one.name: one for one in unsafe_settings()}
    rows = []
    for option in _options().values():
        value, source = _value_of(option)
        found = unsafe.get(option.name)
        rows.append(
            {
                "name": option.name,
                "value": (SET if value else NOT_SET) if is_secret(option.name, value) else value,
                "default": option.default,
                "source": source,
                "help": option.help,
                "unsafe": found.why if found else "",
                "advice": found.advice if found else "",
            }
        )
    return rows


def compared() -> dict[str, str]:
    """The value of every setting, for comparison with another worker's; of secrets a hash of no use else."""
    found = {}
    for name, option in _options().items():
        value, _ = _value_of(option)
        salted = f"{settings.SECRET_KEY} {name} {value}".encode()
        found[name] = f"# {sha256(salted).hexdigest()[:16]}" if is_secret(name, value) else value
    return found


def differences(mine: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    """Settings of another worker that are not as mine, with its values; of secrets only that they differ."""
    return {
        name: "another" if other.get(name, "").startswith("# ") else other.get(name, "")
        for name in sorted(mine.keys() | other.keys())
        if mine.get(name) != other.get(name)
    }


def _options() -> dict[str, Any]:
    return {option.name: option for option in settings.SWITCHBOARD_ENVIRONMENT.options}


def _value_of(option: Any) -> tuple[str, str]:
    """The value as a string, and where it comes from: `environment`, `default`, or `project`, a module of
    settings that has replaced it."""
    now = getattr(settings, option.name, option.parsed)
    # A secret that is empty is made or derived.
    if SECRET.search(option.name) or str(now) == str(option.parsed):
        return option.value, option.source
    return _text(now), "project"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
