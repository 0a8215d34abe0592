"""Certificates: that of a URL, as clients see it, and that of TLS_CERT; when they end."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from cryptography import x509

from broker_project.doctor.finding import Finding, error, ok, warning

SOON: Final = timedelta(days=14)
SECONDS: Final = 5.0


class Certificate(NamedTuple):
    """The end of a certificate, and why clients of this machine would refuse it; "": they take it."""

    ends: datetime
    refused: str = ""


def read_url(url: str) -> Certificate:
    """The certificate of an https URL. Raises OSError (and so SSLError) where there is no TLS at all."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    refused = ""
    try:
        return Certificate(_end(_shown(host, port, ssl.create_default_context())))
    except ssl.SSLCertVerificationError as problem:
        refused = problem.verify_message
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    return Certificate(_end(_shown(host, port, unchecked)), refused)


def read_file(path: Path) -> Certificate:
    """The first certificate of a chain. Raises OSError, ValueError."""
    return Certificate(x509.load_pem_x509_certificates(path.read_bytes())[0].not_valid_after_utc)


def judge(name: str, certificate: Certificate, now: datetime | None = None) -> Iterator[Finding]:
    """Whether it is taken, and for how long still."""
    left = certificate.ends - (now or datetime.now(UTC))
    shown = f"the certificate ends on {certificate.ends:%Y-%m-%d}"
    if left < timedelta():
        yield error(name, f"{shown}: it has run out", "renew it, and reload what serves it")
        return
    if certificate.refused:
        yield error(
            name,
            f"clients refuse the certificate: {certificate.refused}",
            "serve the whole chain of a certificate for this name",
        )
    if left < SOON:
        yield warning(name, f"{shown}, in {left.days} days", "renew it now: that was not done by itself")
    elif not certificate.refused:
        yield ok(name, f"{shown}, in {left.days} days")


def _shown(host: str, port: int, context: ssl.SSLContext) -> bytes:
    with (
        socket.create_connection((host, port), SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        return secure.getpeercert(binary_form=True) or b""


def _end(certificate: bytes) -> datetime:
    return x509.load_der_x509_certificate(certificate).not_valid_after_utc
