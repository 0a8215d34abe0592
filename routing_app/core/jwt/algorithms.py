"""Keys of those who sign tokens: which algorithms exist, and whether a key can work at all."""

from __future__ import annotations

from enum import StrEnum
from typing import Final
from urllib.parse import SplitResult, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key


class KeyKind(StrEnum):
    """The form in which a key is kept."""

    SECRET = "secret"  # noqa: S105 - a kind of key
    PEM = "pem"
    JWKS = "jwks"

    @property
    def label(self) -> str:
        """For the admin."""
        return {"secret": "shared secret", "pem": "public key (PEM)", "jwks": "JWKS URL"}[self.value]


SHARED: Final = ("HS256", "HS384", "HS512")
PUBLIC: Final[dict[str, type]] = {
    "RS256": RSAPublicKey,
    "RS384": RSAPublicKey,
    "RS512": RSAPublicKey,
    "PS256": RSAPublicKey,
    "PS384": RSAPublicKey,
    "PS512": RSAPublicKey,
    "ES256": EllipticCurvePublicKey,
    "ES384": EllipticCurvePublicKey,
    "ES512": EllipticCurvePublicKey,
    "EdDSA": Ed25519PublicKey,
}
ALGORITHMS: Final = (*SHARED, *PUBLIC)
CURVES: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Shortest secret that an algorithm may have (RFC 7518, section 3.2)."""
RSA_BITS: Final = 2048


def check_material(kind: KeyKind, algorithm: str, material: str) -> None:
    """Raises ValueError, with a sentence for the operator, when a key cannot work with its algorithm."""
    if (kind is KeyKind.SECRET) is not (algorithm in SHARED):
        raise ValueError(f"{algorithm} does not go with a {kind.label}.")
    if kind is KeyKind.SECRET:
        _check_secret(algorithm, material)
    elif kind is KeyKind.PEM:
        _check_pem(algorithm, material)
    else:
        check_url(material)


def _check_secret(algorithm: str, material: str) -> None:
    if len(material.encode()) < SECRET_BYTES[algorithm]:
        raise ValueError(f"A secret for {algorithm} has at least {SECRET_BYTES[algorithm]} bytes.")


def _check_pem(algorithm: str, material: str) -> None:
    try:
        key = load_pem_public_key(material.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("This is not a public key in PEM form.") from None
    if not isinstance(key, PUBLIC[algorithm]):
        raise ValueError(f"This key does not go with {algorithm}.")  # noqa: TRY004 - wrong value, not type
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name != CURVES[algorithm]:
        raise ValueError(f"{algorithm} needs a key on {CURVES[algorithm]}.")
    if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS:
        raise ValueError(f"An RSA key has at least {RSA_BITS} bits.")


def check_url(material: str) -> None:
    """Raises ValueError when keys must not or cannot be fetched from this URL.

    That is also one with a user and a password: they are not sent, but shown wherever the URL is.
    """
    parts = urlsplit(material)
    if "@" in parts.netloc:
        raise ValueError("A JWKS URL has no user and no password.")
    if not parts.hostname or not _has_good_port(parts):
        raise ValueError("A JWKS URL has a host, and no port or one from 1 to 65535.")
    loopback = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise ValueError("A JWKS URL is https (http only on loopback).")


def _has_good_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False
