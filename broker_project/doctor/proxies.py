"""Proxies: whether the address of a client arrives, and whether a client could invent it.

With a URL the running server is asked through everything that is before it: a call without a credential is
refused, and the audit log holds the address that it came from.
"""

from __future__ import annotations

import http.client
import secrets
import ssl
import time
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from broker_project.doctor.finding import Finding, error, ok, warning
from routing_app.core.models import AuditEntry
from switchboard_server.proxy import Proxies

NAME: Final = "proxies"
SEEN: Final = "proxies client address"
INVENTED: Final = "192.0.2.77"
"""An address of documentation (RFC 5737) that no client has."""
REFUSED_PATH: Final = "/api/keys/"
SECONDS: Final = 5.0
ENTRY_SECONDS: Final = 3.0
"""Longest wait for an entry: a worker writes them in groups."""


class Asked(NamedTuple):
    """One call: the address that it left from, the status of the answer, and the address that the server
    saw; "" where the audit log of this database does not tell."""

    own: str
    status: int
    seen: str


def judge_settings(trusted: Sequence[str], host: str) -> Finding:
    """TRUSTED_PROXIES beside the address that the server listens on."""
    try:
        Proxies(trusted)
    except ValueError as problem:
        return error(NAME, f"TRUSTED_PROXIES: {problem}", "write addresses, networks or `unix`, with commas")
    if not trusted and _is_loopback(host):
        return warning(
            NAME,
            f"HOST={host} is reached by a proxy of this machine alone, and TRUSTED_PROXIES is empty: every "
            "client has the proxy's address",
            f"set TRUSTED_PROXIES={host if host != 'localhost' else '127.0.0.1'} behind a proxy",
        )
    return ok(NAME, f"X-Forwarded-For is read from {', '.join(trusted)}" if trusted else "none is trusted")


def judge_seen(asked: Asked, trusted: Sequence[str]) -> Finding:
    """Does the server see the client, and not the proxy, nor what the client says?"""
    if not asked.seen:
        return warning(
            SEEN,
            f"the server answered {asked.status}, and no entry of the audit log says what address it saw",
            "run this with the settings of the server, and once a minute at most",
        )
    from_a_proxy = Proxies(trusted).trust(asked.own)
    if asked.seen == INVENTED:
        if from_a_proxy:
            return ok(SEEN, "X-Forwarded-For arrives")
        return error(
            SEEN,
            "the server believes the X-Forwarded-For of any client",
            "have the proxy append to the header, or write it anew; trust no network that clients are in",
        )
    if asked.seen != asked.own:
        return warning(
            SEEN,
            f"the server saw {asked.seen}, and this call left from {asked.own}",
            f"if {asked.seen} is a proxy of yours, name it in TRUSTED_PROXIES; a NAT between is all right",
        )
    if not trusted and _is_loopback(asked.own):
        return warning(
            SEEN,
            f"the server saw {asked.seen}, which is this machine, be there a proxy or not",
            "call from another machine, or set TRUSTED_PROXIES",
        )
    return ok(SEEN, f"the server saw {asked.seen}, which this call left from")


def ask(url: str) -> Asked:
    """Call a server without a credential. Raises OSError, HTTPException."""
    id = f"doctor-{secrets.token_hex(8)}"
    own, status = _call(url, {"X-Request-ID": id, "X-Forwarded-For": INVENTED})
    return Asked(own, status, _network(id))


def _call(url: str, headers: dict[str, str]) -> tuple[str, int]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        # The certificate has a check of its own.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, parts.port, timeout=SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=SECONDS)
    try:
        connection.connect()
        own = str(connection.sock.getsockname()[0])
        connection.request("GET", REFUSED_PATH, headers=headers)
        return own, connection.getresponse().status
    finally:
        connection.close()


def _network(id: str) -> str:
    deadline = time.monotonic() + ENTRY_SECONDS
    while True:
        if (row := AuditEntry.objects.filter(request_id=id).first()) is not None:
            return row.network
        if time.monotonic() > deadline:
            return ""
        time.sleep(0.05)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
