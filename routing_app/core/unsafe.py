"""Settings that let in more than an operator may have meant: what each allows, and what to set instead."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import ValidationError

from routing_app.core import protocol as protocols

ANY: Final = "*"
SECRET_LENGTH: Final = 32
"""Characters of a secret that nobody can guess; the same number of bytes is what RFC 7518 asks of HS256."""
SECRET_CHARACTERS: Final = 5
"""Different ones, as Django asks of its own."""
PASSWORD_LENGTH: Final = 12


class Unsafe(NamedTuple):
    """The name of a setting, what it allows as it is, and what to set instead. Never its value."""

    name: str
    why: str
    advice: str


def unsafe_settings() -> list[Unsafe]:
    """Settings of this process that are unsafe, those of each protocol last."""
    found = [*_of_django(), *_of_networks(), *_of_secrets()]
    for protocol in protocols.registered():
        found += [*_of_access(protocol), *protocol.unsafe_settings()]
    return found


def is_weak(secret: str) -> bool:
    """True for a secret that somebody may guess."""
    return len(secret) < SECRET_LENGTH or len(set(secret)) < SECRET_CHARACTERS


def _of_django() -> Iterator[Unsafe]:
    if settings.DEBUG:
        yield Unsafe("DEBUG", "errors show code and settings to everybody", "set DEBUG=no")
    if ANY in settings.ALLOWED_HOSTS:
        yield Unsafe(
            "ALLOWED_HOSTS",
            "every Host header is answered, also that of a name that was pointed here",
            "set ALLOWED_HOSTS to the names of this server",
        )
    if settings.SECURE_COOKIES == "no":
        yield Unsafe(
            "SECURE_COOKIES", "cookies of staff travel over plain HTTP, too", "set SECURE_COOKIES=auto or yes"
        )
    if any(origin.startswith("http://") for origin in settings.CSRF_TRUSTED_ORIGINS):
        yield Unsafe(
            "CSRF_TRUSTED_ORIGINS",
            "a page that came over plain HTTP may send forms to the admin",
            "name origins of https:// only",
        )


def _of_networks() -> Iterator[Unsafe]:
    if any(_is_everybody(word) for word in settings.TRUSTED_PROXIES):
        yield Unsafe(
            "TRUSTED_PROXIES",
            "any client may choose the address that it is counted and revoked by",
            "name the addresses of your proxies only",
        )
    if settings.METRICS_OPEN:
        yield Unsafe(
            "METRICS_OPEN",
            "everybody who reaches /metrics reads it",
            "set METRICS_OPEN=no and give Prometheus a key that may read, or close /metrics in the proxy",
        )
    if settings.WEBHOOKS_PRIVATE:
        yield Unsafe(
            "WEBHOOKS_PRIVATE",
            "somebody who makes a webhook has this server call services of its own network",
            "set WEBHOOKS_PRIVATE=no unless the receivers are there",
        )


def _is_everybody(word: str) -> bool:
    try:
        return ip_network(word, strict=False).prefixlen == 0
    except ValueError:  # `unix`, or what the start refuses
        return False


def _of_secrets() -> Iterator[Unsafe]:
    another = "set one of `openssl rand -base64 48`"
    if is_weak(settings.SECRET_KEY) or settings.SECRET_KEY.startswith("django-insecure-"):
        yield Unsafe("SECRET_KEY", "it may be guessed, and with it cookies of staff are forged", another)
    if any(map(is_weak, settings.SECRET_KEY_FALLBACKS)):
        yield Unsafe(
            "SECRET_KEY_FALLBACKS", "one may be guessed, and its signatures count", "take weak ones out"
        )
    if (key := os.environ.get("SWITCHBOARD_API_KEY")) and is_weak(key):
        yield Unsafe("SWITCHBOARD_API_KEY", "the key of the first start may be guessed", another)
    if (password := os.environ.get("DJANGO_SUPERUSER_PASSWORD")) and _is_weak_password(password):
        yield Unsafe(
            "DJANGO_SUPERUSER_PASSWORD",
            f"the password of the first start is common, or shorter than {PASSWORD_LENGTH} characters",
            "set another one with `manage.py changepassword`, and take this out of the environment",
        )
    if _is_guessable_in(settings.DATABASE_URL):
        yield Unsafe(
            "DATABASE_URL",
            f"its password is the user's name, common, or shorter than {PASSWORD_LENGTH} characters",
            "give the role of PostgreSQL another password",
        )


def _is_weak_password(password: str) -> bool:
    if len(password) < PASSWORD_LENGTH:
        return True
    try:
        CommonPasswordValidator().validate(password)
    except ValidationError:
        return True
    return False


def _is_guessable_in(url: str) -> bool:
    """True where a URL has a password that may be guessed; without one, another way of logging in counts."""
    login = urlsplit(url).netloc.rpartition("@")[0] if "://" in url else ""
    user, _, password = map(unquote, login.partition(":"))
    return bool(password) and (password == user or _is_weak_password(password))


def _of_access(protocol: type[protocols.Protocol]) -> Iterable[Unsafe]:
    prefix, name = protocol.name.upper(), protocol.name
    if settings.ACCESS.get(name) == "open":
        yield Unsafe(
            f"{prefix}_ACCESS",
            f"clients of {name} need no credential",
            f"set {prefix}_ACCESS=token where all of them have an access token or an API key",
        )
    if ANY in settings.ORIGINS.get(name, ()):
        yield Unsafe(
            f"{prefix}_ORIGINS",
            f"pages of any site may connect to {name} from their visitors' browsers",
            f"set {prefix}_ORIGINS to the sites whose pages are clients",
        )
