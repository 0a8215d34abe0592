"""Certificates: a context from PEM files, and a self-signed certificate where there is none."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALIDITY: Final = datetime.timedelta(days=365)


def server_context(cert: str, key: str) -> ssl.SSLContext:
    """TLS settings for a certificate chain and its key, both PEM.

    Raises OSError for a file that cannot be read, ValueError for one that is not what it should be.
    """
    try:
        x509.load_pem_x509_certificates(Path(cert).read_bytes())
    except ValueError:
        raise ValueError(f"{cert}: no certificate in PEM form") from None
    Path(key).read_bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a function OpenSSL would ask on the terminal for a passphrase.
        context.load_cert_chain(cert, key, lambda: b"")
    except ssl.SSLError as error:
        if "MISMATCH" in (error.reason or ""):
            raise ValueError(f"{key} is not the key of {cert}") from None
        raise ValueError(f"{key}: no private key in PEM form, or one with a passphrase") from None
    return context


def self_signed(folder: Path, names: list[str]) -> tuple[Path, Path]:
    """(certificate, key) for these host names or addresses, made on first use and when it has run out."""
    cert, key = folder / "self-signed.pem", folder / "self-signed.key"
    if not _serves(cert, key, names):
        folder.mkdir(parents=True, exist_ok=True)
        _write(cert, key, names)
    return cert, key


def _serves(cert: Path, key: Path, names: list[str]) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(cert.read_bytes())
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        now = datetime.datetime.now(datetime.UTC)
        return (
            key.exists() and now < certificate.not_valid_after_utc and set(_alternatives(names)) <= set(found)
        )
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False


def _alternatives(names: list[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _write(cert: Path, key: Path, names: list[str]) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Switchboard (self-signed)")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
