"""Access tokens: each claim, right and wrong and missing, by every algorithm."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from math import inf
from typing import Any

import jwt
import pytest

from routing_app.core.access.grants import GrantKind
from routing_app.core.access.patterns import MAX_PATTERNS, NOTHING, Patterns
from routing_app.core.jwt.algorithms import KeyKind, check_material
from routing_app.core.jwt.signature import KnownKey
from routing_app.core.jwt.token import TokenRefused
from tests.jwt.signing import (
    EC,
    EC384,
    EC521,
    ED,
    HS,
    OTHER_RSA,
    RSA,
    SECRET,
    access_claims,
    grant_of,
    issuer,
    pem,
    signed,
)

pytestmark = pytest.mark.once

NOW = int(time.time())


async def part_refused(token: str, *keys: KnownKey, audiences: tuple[str, ...] = ()) -> str:
    """The part of a token that is wrong; `""` for a good one."""
    try:
        await grant_of(token, issuer(*(keys or (HS,)), audiences=audiences))
    except TokenRefused as refused:
        problem = refused
    else:
        return ""
    assert token not in str(problem)
    return problem.claim


async def test_token_with_the_least_claims() -> None:
    grant = await grant_of(signed(access_claims(exp=NOW + 86_400)), issuer(HS))

    assert (grant.kind, grant.identity, grant.subject, grant.issuer) == (
        GrantKind.TOKEN,
        "alice",
        "alice",
        "shop",
    )
    assert (grant.expires_at, grant.issued_at, grant.jti, grant.name) == (NOW + 86_400, -inf, "", "")
    assert (grant.subscribe, grant.publish) == (NOTHING, NOTHING)
    assert grant.caller == "token shop/alice"


async def test_token_with_all_claims() -> None:
    names = {"jti": "t1", "name": "Alice", "aud": "a"}
    rights = {"subscribe": ["room:bus/*"], "publish": ["channel:9", "*"]}
    claims = access_claims(iat=NOW, nbf=NOW, **names, **rights)

    grant = await grant_of(signed(claims), issuer(HS, audiences=("b", "a")))

    assert (grant.jti, grant.name, grant.issued_at) == ("t1", "Alice", NOW)
    assert (grant.subscribe, grant.publish) == (Patterns(["room:bus/*"]), Patterns(["channel:9", "*"]))
    assert grant.may_subscribe("room:bus/7")
    assert not grant.may_subscribe("channel:9")
    assert grant.may_publish("user:5")


ACCEPTED: dict[str, dict[str, Any]] = {
    "iat a day ahead": {"iat": NOW + 86_400},
    "times with fractions": {"exp": NOW + 86_400.5, "nbf": NOW - 0.5, "iat": NOW + 0.5},
    "exp in 300,000 years": {"exp": 10**13},
    "sub of 255 characters": {"sub": "a" * 255},
    "sub with other letters": {"sub": "Ünal 東京 🚌"},
    "empty lists": {"subscribe": [], "publish": []},
    "a claim of its own": {"publisherId": 5, "scope": {"x": [1]}},
}


@pytest.mark.parametrize("case", ACCEPTED)
async def test_accepted(case: str) -> None:
    assert await part_refused(signed(access_claims(**ACCEPTED[case]))) == ""


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "no iss": ("iss", {"iss": None}),
    "iss of nobody": ("iss", {"iss": "else"}),
    "iss is empty": ("iss", {"iss": ""}),
    "iss is a number": ("iss", {"iss": 1}),
    "iss is a list": ("iss", {"iss": ["shop"]}),
    "iss with NUL": ("iss", {"iss": "shop\0"}),
    "no exp": ("exp", {"exp": None}),
    "exp is a string": ("exp", {"exp": str(NOW + 86_400)}),
    "exp is true": ("exp", {"exp": True}),
    "exp is a list": ("exp", {"exp": [NOW + 86_400]}),
    "expired": ("exp", {"exp": NOW - 60}),
    "exp is 0": ("exp", {"exp": 0}),
    "exp is NaN": ("token", {"exp": float("nan")}),
    "exp is infinite": ("token", {"exp": inf}),
    "not yet valid": ("nbf", {"nbf": NOW + 86_400}),
    "nbf is a string": ("nbf", {"nbf": "0"}),
    "iat is a string": ("iat", {"iat": str(NOW)}),
    "iat is true": ("iat", {"iat": True}),
    "no sub": ("sub", {"sub": None}),
    "sub is empty": ("sub", {"sub": ""}),
    "sub of 256 characters": ("sub", {"sub": "a" * 256}),
    "sub is a number": ("sub", {"sub": 7}),
    "sub is a list": ("sub", {"sub": ["alice"]}),
    "sub with NUL": ("sub", {"sub": "a\0"}),
    "sub with a line feed": ("sub", {"sub": "a\nb"}),
    "sub with half a surrogate pair": ("token", {"sub": "a\ud800"}),
    "jti is a number": ("jti", {"jti": 7}),
    "jti is empty": ("jti", {"jti": ""}),
    "jti of 256 characters": ("jti", {"jti": "j" * 256}),
    "name is a list": ("name", {"name": ["Alice"]}),
    "name is empty": ("name", {"name": ""}),
    "subscribe is a string": ("subscribe", {"subscribe": "*"}),
    "subscribe is an object": ("subscribe", {"subscribe": {"*": True}}),
    "subscribe holds a number": ("subscribe", {"subscribe": ["*", 1]}),
    "subscribe holds no address": ("subscribe", {"subscribe": ["bus"]}),
    "subscribe has * in the middle": ("subscribe", {"subscribe": ["room:*/7"]}),
    "subscribe has too many": ("subscribe", {"subscribe": ["*"] * (MAX_PATTERNS + 1)}),
    "publish is a string": ("publish", {"publish": "room:*"}),
    "publish holds an empty string": ("publish", {"publish": [""]}),
    "aud where none is listed": ("aud", {"aud": "a"}),
    "aud list where none is listed": ("aud", {"aud": ["a"]}),
    "aud is an empty string": ("aud", {"aud": ""}),
    "aud is a number": ("aud", {"aud": 5}),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_refused_with_the_part_that_is_wrong(case: str) -> None:
    part, changes = REFUSED[case]

    assert await part_refused(signed(access_claims(**changes))) == part


@pytest.mark.parametrize("name", ["jti", "name", "subscribe", "publish", "nbf", "iat", "exp", "sub", "iss"])
async def test_null_is_not_the_same_as_missing(name: str) -> None:
    assert await part_refused(signed(access_claims() | {name: None})) == name


AUDIENCES: dict[str, tuple[Any, str]] = {
    "the one": ("a", ""),
    "the other one": ("b", ""),
    "one of several": (["x", "b"], ""),
    "none": (None, "aud"),
    "another": ("c", "aud"),
    "others": (["c", "d"], "aud"),
    "part of it": ("", "aud"),
    "an empty list": ([], "aud"),
    "an object": ({"a": "a"}, "aud"),
    "a list in a list": ([["a"]], "aud"),
}


@pytest.mark.parametrize("audiences", [(), ("a", "b")])
async def test_a_null_is_an_audience_that_nobody_lists(audiences: tuple[str, ...]) -> None:
    assert await part_refused(signed({**access_claims(), "aud": None}), audiences=audiences) == "aud"


@pytest.mark.parametrize("case", AUDIENCES)
async def test_audience_of_an_issuer_that_lists_some(case: str) -> None:
    audience, part = AUDIENCES[case]

    assert await part_refused(signed(access_claims(aud=audience)), audiences=("a", "b")) == part


async def test_leeway_is_a_setting(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr("routing_app.core.jwt.claims.time", lambda: float(NOW))
    for leeway in (0, 5, 60):
        settings.TOKEN_LEEWAY_SECONDS = leeway
        for changes, part in (
            ({"exp": NOW - leeway + 0.5}, ""),
            ({"exp": NOW - leeway}, "exp"),
            ({"nbf": NOW + leeway}, ""),
            ({"nbf": NOW + leeway + 0.5}, "nbf"),
        ):
            assert await part_refused(signed(access_claims(**changes))) == part


# --- signatures ------------------------------------------------------------------------------------------

ALGORITHMS: dict[str, tuple[KeyKind, Any, str]] = {
    **dict.fromkeys(("HS256", "HS384", "HS512"), (KeyKind.SECRET, SECRET, SECRET)),
    **{name: (KeyKind.PEM, RSA, pem(RSA)) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")},
    "ES256": (KeyKind.PEM, EC, pem(EC)),
    "ES384": (KeyKind.PEM, EC384, pem(EC384)),
    "ES512": (KeyKind.PEM, EC521, pem(EC521)),
    "EdDSA": (KeyKind.PEM, ED, pem(ED)),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_algorithm(algorithm: str) -> None:
    kind, private, material = ALGORITHMS[algorithm]
    check_material(kind, algorithm, material)
    token = signed(access_claims(), private, algorithm)
    header, claims, signature = token.split(".")
    changed = f"{header}.{claims}.{signature[:-4]}{'AAAA' if signature[-4:] != 'AAAA' else 'BBBB'}"

    for kid in ("", "k1"):
        key = KnownKey(kind, algorithm, kid, material)
        assert await part_refused(token, key) == ""
        assert await part_refused(changed, key) == "signature"
        others = [other for other in ALGORITHMS if other != algorithm]
        foreign = [KnownKey(ALGORITHMS[name][0], name, "", ALGORITHMS[name][2]) for name in others]
        assert await part_refused(token, *foreign) == "kid"


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def forged_with_the_public_key() -> str:
    """HS256 with the public key, as it is written, for a secret."""
    head = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(access_claims())}"
    mac = hmac.new(pem(RSA).encode(), head.encode(), hashlib.sha256).digest()
    return f"{head}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


PUBLIC = KnownKey(KeyKind.PEM, "RS256", "", pem(RSA))

FORGED: dict[str, tuple[str, Callable[[], str]]] = {
    "none": ("kid", lambda: jwt.encode(access_claims(), "", "none")),
    "NONE": ("kid", lambda: f"{encoded({'alg': 'NONE'})}.{encoded(access_claims())}."),
    "no alg": ("kid", lambda: f"{encoded({'typ': 'JWT'})}.{encoded(access_claims())}.x"),
    "alg is a list": ("kid", lambda: f"{encoded({'alg': ['RS256']})}.{encoded(access_claims())}.x"),
    "the public key as a secret": ("kid", forged_with_the_public_key),
    "another key": ("signature", lambda: signed(access_claims(), OTHER_RSA, "RS256")),
    "no signature": ("signature", lambda: signed(access_claims(), RSA, "RS256").rpartition(".")[0] + "."),
    "the key beside it": (
        "signature",
        lambda: jwt.encode(
            access_claims(),
            OTHER_RSA,
            "RS256",
            {
                "jwk": jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_RSA.public_key(), as_dict=True),
                "jku": "http://127.0.0.1:1/keys",
            },
        ),
    ),
    "a critical extension": (
        "signature",
        lambda: jwt.encode(access_claims(), RSA, "RS256", {"crit": ["x"], "x": 1}),
    ),
    "a payload that is not in it": (
        "token",
        lambda: jwt.encode(access_claims(), RSA, "RS256", {"crit": ["b64"], "b64": False}),
    ),
}


@pytest.mark.parametrize("case", FORGED)
async def test_forged_token_is_refused(case: str) -> None:
    part, make = FORGED[case]

    assert await part_refused(make(), PUBLIC) == part


async def test_keys_of_a_rotation_are_all_tried() -> None:
    old = KnownKey(KeyKind.SECRET, "HS256", "old", SECRET)
    new = KnownKey(KeyKind.SECRET, "HS256", "new", "n" * 32)
    bare = KnownKey(KeyKind.SECRET, "HS256", "", "b" * 32)

    for key, kid in ((old, "old"), (new, "new"), (old, None), (new, None), (bare, "x"), (bare, "old")):
        assert await part_refused(signed(access_claims(), key.material, kid=kid), old, new, bare) == ""
    assert await part_refused(signed(access_claims(), SECRET, kid="new"), old, new, bare) == "signature"
    assert await part_refused(signed(access_claims(), SECRET, kid="else"), old, new) == "kid"
    assert await part_refused(signed(access_claims(), SECRET, kid="old"), new) == "kid"
