"""Keys that cannot work with their algorithm are refused before they are stored."""

from __future__ import annotations

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from routing_app.core.jwt.algorithms import ALGORITHMS, KeyKind, check_material
from tests.jwt.signing import EC, RSA, SECRET, pem

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("kind", "algorithm", "material"),
    [
        (KeyKind.SECRET, "HS256", "short"),
        (KeyKind.SECRET, "RS256", SECRET),
        (KeyKind.PEM, "HS256", pem(RSA)),
        (KeyKind.PEM, "RS256", "no key"),
        (KeyKind.PEM, "RS256", pem(EC)),
        (KeyKind.PEM, "ES384", pem(EC)),
        (KeyKind.PEM, "ES512", pem(EC)),
        (KeyKind.PEM, "RS256", pem(rsa.generate_private_key(65537, 1024))),
        (KeyKind.JWKS, "HS256", "https://keys.example/jwks"),
        (KeyKind.JWKS, "RS256", "http://keys.example/jwks"),
        (KeyKind.JWKS, "RS256", "file:///etc/passwd"),
        (KeyKind.JWKS, "RS256", "https://"),
        (KeyKind.JWKS, "RS256", "https:///jwks"),
        (KeyKind.JWKS, "RS256", "https://keys.example:99999/jwks"),
        (KeyKind.JWKS, "RS256", "https://keys.example:0/jwks"),
        (KeyKind.JWKS, "RS256", "https://keys.example:port/jwks"),
        (KeyKind.JWKS, "RS256", "https://user:password@keys.example/jwks"),
        (KeyKind.JWKS, "RS256", "https://user@keys.example/jwks"),
    ],
)
def test_key_that_does_not_go_with_its_algorithm_is_refused(
    kind: KeyKind, algorithm: str, material: str
) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        check_material(kind, algorithm, material)


def test_algorithms_are_real_and_none_is_not_one() -> None:
    assert "none" not in {name.lower() for name in ALGORITHMS}
    assert set(ALGORITHMS) <= set(jwt.algorithms.get_default_algorithms())
