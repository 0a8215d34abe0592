"""Names that this server answers to: ALLOWED_HOSTS, held also where Django is not asked.

A page of another site can have its own name point here (DNS rebinding). The Host header gives it away.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from functools import cache, lru_cache
from ipaddress import ip_address
from typing import Any, Final

from django.conf import settings
from django.http.request import split_domain_port, validate_host

LOCAL: Final = [".localhost", "127.0.0.1", "[::1]"]
"""The names that Django allows where DEBUG is on and ALLOWED_HOSTS is empty."""


def allowed(scope: Mapping[str, Any]) -> bool:
    """True when ALLOWED_HOSTS names the host of a request, as Django decides it.

    Without a Host header no browser is asking, and no name was pointed anywhere.
    """
    names = settings.ALLOWED_HOSTS or (LOCAL if settings.DEBUG else [])
    if "*" in names:
        return True
    host = header(scope)
    if host is None:
        return True
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, names)


def own(scope: Mapping[str, Any]) -> str:
    """The Host header that `self` compares an Origin with; "" where the name may be a rebound one.

    While any host is allowed, a client on this same machine has to call it by a name of its own: another name
    that leads to the loopback address is somebody's trick, or a proxy that TRUSTED_PROXIES does not list.
    """
    host = header(scope) or ""
    if "*" not in settings.ALLOWED_HOSTS:
        return host if allowed(scope) else ""
    # Both ends on the loopback address: the browser runs on this machine, or a proxy here hides its own host.
    ends = scope.get("client"), scope.get("server")
    inside = all(end and _is_loopback(str(end[0])) for end in ends)
    return "" if inside and not _names_this_machine(split_domain_port(host)[0]) else host


def header(scope: Mapping[str, Any]) -> str | None:
    """The Host header; two of them make a name that nobody has."""
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
    return ",".join(values) if values else None


def _names_this_machine(domain: str) -> bool:
    if domain in {"localhost", _host_name()} or domain.endswith(".localhost"):
        return True
    return _is_loopback(domain.strip("[]"))


@cache
def _host_name() -> str:
    """The name of this machine, asked for once: the call gives up the GIL, and gets it back later."""
    return socket.gethostname().lower()


@lru_cache(maxsize=1024)
def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
