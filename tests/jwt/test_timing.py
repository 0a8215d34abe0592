"""The time of a refusal tells nothing about a secret.

The only step of a check that a secret goes into is the comparison of a signature, which takes the same time
wherever the first wrong byte stands. All that is decided before it is decided by what the client sent, and by
what is no secret: names, algorithms and `kid`s.
"""

from __future__ import annotations

import base64
import hmac

import pytest

from routing_app.core.jwt.algorithms import KeyKind
from routing_app.core.jwt.signature import KnownKey
from routing_app.core.jwt.token import TokenRefused
from tests.jwt.signing import SECRET, access_claims, grant_of, issuer, signed

pytestmark = pytest.mark.once


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The lengths of what was compared in constant time."""
    lengths: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def counting(left: bytes, right: bytes) -> bool:
        lengths.append((len(left), len(right)))
        return compare(left, right)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    return lengths


def with_signature(token: str, change: int) -> str:
    """A token with one byte of its signature changed."""
    head, _, signature = token.rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "="))
    raw[change] ^= 1
    return f"{head}.{base64.urlsafe_b64encode(raw).decode().rstrip('=')}"


async def test_every_wrong_signature_is_compared_whole(compared: list[tuple[int, int]]) -> None:
    good = signed(access_claims())
    for change in range(32):
        with pytest.raises(TokenRefused, match="signature"):
            await grant_of(
                with_signature(good, change), issuer(KnownKey(KeyKind.SECRET, "HS256", "", SECRET))
            )

    assert compared == [(32, 32)] * 32


async def test_all_keys_of_a_wrong_token_are_tried(compared: list[tuple[int, int]]) -> None:
    keys = [KnownKey(KeyKind.SECRET, "HS256", "", secret * 32) for secret in "abc"]

    with pytest.raises(TokenRefused, match="signature"):
        await grant_of(signed(access_claims()), issuer(*keys))

    assert len(compared) == len(keys)


@pytest.mark.parametrize(
    "changes", [{"exp": 1}, {"sub": 5}, {"aud": "x"}, {"nbf": "x"}, {"subscribe": "x"}], ids=str
)
async def test_claims_are_looked_at_after_the_signature_alone(
    compared: list[tuple[int, int]], changes: dict[str, object]
) -> None:
    """So a client without a key cannot tell by the answer which claims would have been right."""
    with pytest.raises(TokenRefused) as refused:
        await grant_of(
            signed(access_claims(**changes), "w" * 32), issuer(KnownKey(KeyKind.SECRET, "HS256", "", SECRET))
        )

    assert refused.value.claim == "signature"
    assert len(compared) == 1
