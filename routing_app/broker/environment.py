"""Strict readers for settings that come from the environment.

A value that cannot be understood is an `ImproperlyConfigured` of one line that names the variable;
nothing is guessed. `NAME_FILE` may hold the path of a file with the value, for secrets.
Every reader records what it read, so that documentation and tests can list all settings.

A Django project that embeds the broker may set a name in its `settings.py` instead, as a value of Python. It
wins over the environment, and is checked in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")

TRUE: Final = frozenset({"1", "true", "yes", "on"})
FALSE: Final = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True)
class Option:
    """One documented setting: its variable, its default as a string, and its effect.

    `value` is what was read, `source` where from: `environment`, `settings` (of
    a project) or `default`; `parsed` is what became of it.
    """

    name: str
    default: str
    help: str
    value: str = ""
    source: str = "default"
    parsed: object = None


class Environment:
    """Reads settings from a mapping (the process environment by default)."""

    def __init__(self, source: Mapping[str, str] | None = None, own: Mapping[str, Any] | None = None) -> None:
        self._source = os.environ if source is None else source
        self._own: Callable[[str], Any] = (own or {}).get
        self.options: list[Option] = []

    def prefer(self, own: object) -> None:
        """From now on look first at the attributes of an object: Django's settings as they have become."""
        self._own = partial(_attribute, own)

    def string(self, name: str, default: str, help: str, choices: Sequence[str] = ()) -> str:
        """A string; with `choices`, one of them."""
        value = self._read(name, default, help)
        if choices and value not in choices:
            raise self._wrong(name, value, "one of " + ", ".join(choices))
        return self._parsed(value)

    def boolean(self, name: str, default: bool, help: str) -> bool:
        """`yes`/`no`, `true`/`false`, `on`/`off`, `1`/`0`, in any case; anything else is refused."""
        value = self._read(name, "yes" if default else "no", help)
        if value.lower() in TRUE:
            return self._parsed(True)
        if value.lower() in FALSE:
            return self._parsed(False)
        raise self._wrong(name, value, "yes or no")

    def integer(self, name: str, default: int, help: str, minimum: int = 0, maximum: int = 2**31) -> int:
        """A whole number between `minimum` and `maximum`, both allowed."""
        value = self._read(name, str(default), help)
        try:
            number = int(value)
        except ValueError:
            raise self._wrong(name, value, "a whole number") from None
        if not minimum <= number <= maximum:
            raise self._wrong(name, value, f"from {minimum} to {maximum}")
        return self._parsed(number)

    def seconds(self, name: str, default: float, help: str, minimum: float = 0.0) -> float:
        """A time in seconds, not below `minimum`."""
        value = self._read(name, f"{default:.15g}", help)
        try:
            number = float(value)
        except ValueError:
            raise self._wrong(name, value, "a number of seconds") from None
        if not minimum <= number < float("inf"):
            raise self._wrong(name, value, f"at least {minimum:g} seconds")
        return self._parsed(number)

    def words(
        self,
        name: str,
        default: str,
        help: str,
        accepts: Callable[[str], object] = bool,
        expected: str = "words",
    ) -> list[str]:
        """A list written with commas, each word of which `accepts` finds right; spaces around are dropped."""
        words = [word.strip() for word in self._read(name, default, help).split(",") if word.strip()]
        for word in words:
            if not accepts(word):
                raise self._wrong(name, word, expected)
        return self._parsed(words)

    def _read(self, name: str, default: str, help: str) -> str:
        self.options.append(Option(name, default, help, default, parsed=default))
        if (own := self._own(name)) is not None:
            return self._found(_as_text(own), "settings") or default
        if path := self._source.get(f"{name}_FILE"):
            return self._found(self._read_file(name, path), "environment")
        value = self._source.get(name, "")
        return self._found(value, "environment") if value else default

    def _found(self, value: str, source: str) -> str:
        self.options[-1] = replace(self.options[-1], value=value, source=source)
        return value

    def _parsed(self, value: T) -> T:
        """Note what became of the value that was read last."""
        self.options[-1] = replace(self.options[-1], parsed=value)
        return value

    def _read_file(self, name: str, path: str) -> str:
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ImproperlyConfigured(f"{name}_FILE: cannot read {path}: {error}") from None

    def _wrong(self, name: str, value: str, expected: str) -> ImproperlyConfigured:
        return ImproperlyConfigured(f"{name}: expected {expected}, but got {value[:60]!r}")


def _attribute(source: object, name: str) -> Any:
    """An attribute; None for one that is not there."""
    return getattr(source, name, None)


def _as_text(value: Any) -> str:
    """A value of Python as it would stand in the environment."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(map(str, value))
    return str(value)


def is_importable(name: str) -> bool:
    """Is there a module, or a class in a module (as Django names an `AppConfig`), of this dotted name?"""
    module, _, last = name.rpartition(".")
    return _is_module(module) if last[:1].isupper() else _is_module(name)


def _is_module(name: str) -> bool:
    try:
        return bool(name) and find_spec(name) is not None
    except (ImportError, ValueError):
        return False
