"""The original's `websockets.conf`, read into our settings.

It is a YAML flow mapping: bare keys, quoted values, comments, often a trailing comma. This module needs no
settings: `manage.py serve --config` reads the file before there are any.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import yaml

from routing_app.core.access.origin import is_pattern

Warn = Callable[[str], object]

UNPRINTABLE: Final = "holds characters that no configuration has"


class ConfigError(Exception):
    """The file cannot be used; the message is one line that names file, line and key."""


class BadValue(ValueError):
    """A value is not what its key takes; the message says what is."""


@dataclass(frozen=True, slots=True)
class ConfEntry:
    """One `Key: "value"` and the line it starts on, counted from 1."""

    key: str
    value: str
    line: int


def load(path: str | Path, warn: Warn = lambda text: sys.stderr.write(f"{text}\n")) -> dict[str, str]:
    """Our environment variables for what the file says.

    `warn` is told, a line each, about keys that are unknown or have no effect here. Without
    AllowUnregisteredClients only registered tokens may connect, as in the original. Raises ConfigError.
    """
    name = Path(path).name
    found = {"TOKENS_ALLOW_UNREGISTERED": "no"}
    seen: set[str] = set()
    for entry in _entries(path):
        where = f"{name} line {entry.line}: {entry.key}"
        if entry.key in seen:
            raise ConfigError(f"{where}: given twice")
        seen.add(entry.key)
        try:
            found |= _translate(entry, partial(_warn_about, warn, where))
        except BadValue as error:
            raise ConfigError(f"{where}: expected {error}, but got {entry.value[:60]!r}") from None
    if "TLS_KEY" in found and "TLS_CERT" not in found:
        warn(f"{name}: Keyfile has no effect without Crtfile")
    return found


def _warn_about(warn: Warn, where: str, text: str) -> None:
    warn(f"{where}: {text}")


def _entries(path: str | Path) -> Iterator[ConfEntry]:
    """The entries of the file in order. Raises ConfigError."""
    name = Path(path).name
    try:
        # YAML as Python reads it allows no tab between tokens, the original's reader does.
        text = Path(path).read_text(encoding="utf-8-sig").replace("\t", " ")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{name}{place}: {error.problem or error.context}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deep") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        raise ConfigError(f"{name}: {UNPRINTABLE}") from None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f'{name}: expected {{ Key: "value", ... }}')
    for key, value in root.value:
        yield _entry(name, key, value)


def _entry(name: str, key: yaml.Node, value: yaml.Node) -> ConfEntry:
    line = key.start_mark.line + 1
    if not isinstance(key, yaml.ScalarNode):
        raise ConfigError(f"{name} line {line}: expected a key")
    if not isinstance(value, yaml.ScalarNode):
        raise ConfigError(f"{name} line {line}: {key.value}: expected one value")
    text = "" if value.tag.endswith(":null") else value.value.strip()
    if not (key.value + text).isprintable():
        raise ConfigError(f"{name} line {line}: {UNPRINTABLE}")
    return ConfEntry(key.value, text, line)


def _translate(entry: ConfEntry, warn: Warn) -> dict[str, str]:
    """Settings for one entry; none for an empty value, as if the line were not there. Raises BadValue."""
    reader = KEYS.get(entry.key)
    if reader is None:
        warn("unknown key, ignored")
        return {}
    return reader(entry.value, warn) if entry.value else {}


def _host(value: str, warn: Warn) -> dict[str, str]:
    if any(character.isspace() or character in "/?#@" for character in value):
        raise BadValue("a host name or an address")
    return {"HOST": value}


def _port(value: str, warn: Warn) -> dict[str, str]:
    if not (value.isascii() and value.isdigit() and 1 <= int(value[:6]) <= 65535):
        raise BadValue("a number from 1 to 65535")
    return {"PORT": value}


def _origin(value: str, warn: Warn) -> dict[str, str]:
    origins = [origin.strip() for origin in value.split(",") if origin.strip()]
    if not all(map(is_pattern, origins)):
        raise BadValue('"*" or origins such as "https://example.com"')
    return {"TOKENS_ORIGINS": ",".join(origins)}


def _allow_unregistered(value: str, warn: Warn) -> dict[str, str]:
    if value not in {"yes", "no"}:
        warn(f'only "yes" lets unregistered tokens in; {value[:60]!r} does not')
    return {"TOKENS_ALLOW_UNREGISTERED": "yes" if value == "yes" else "no"}


def _tokens_url(value: str, warn: Warn) -> dict[str, str]:
    try:
        parts = urlsplit(value)
    except ValueError:  # `http://[x`
        raise BadValue("a URL of http, https or file") from None
    if parts.scheme not in {"http", "https", "file"} or not (parts.netloc or parts.path):
        raise BadValue("a URL of http, https or file")
    return {"TOKENS_URL": value}


def _auto_tls(value: str, warn: Warn) -> dict[str, str]:
    return {"HTTPS": "yes"} if value == "yes" else {}


def _without_effect(value: str, warn: Warn) -> dict[str, str]:
    warn("has no effect here")
    return {}


def _http_clients(value: str, warn: Warn) -> dict[str, str]:
    if value == "yes":
        warn("HTTP clients are not served here")
    return {}


KEYS: Final[dict[str, Callable[[str, Warn], dict[str, str]]]] = {
    "Host": _host,
    "Port": _port,
    "Origin": _origin,
    "Responseheaders": _without_effect,
    "AllowUnregisteredClients": _allow_unregistered,
    "AllowUnregisteredHttpClients": _http_clients,
    "RegisteredTokensUrl": _tokens_url,
    "Crtfile": lambda value, warn: {"TLS_CERT": value},
    "Keyfile": lambda value, warn: {"TLS_KEY": value},
    "AutoTLS": _auto_tls,
}
"""Every key of the original, and what it becomes."""
