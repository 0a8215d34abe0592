"""`manage.py gentoken` and `checktoken`, for access tokens and customer tokens."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import jwt
import pytest
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command

from routing_app.core.access.grants import Grant
from routing_app.core.issuers import service
from routing_app.core.issuers.access_tokens import AccessTokens
from routing_app.core.issuers.known import load
from routing_app.core.issuers.service import WantedKey
from routing_app.core.jwt.algorithms import KeyKind
from sessions_app.provisioning import create_publisher, customer_token
from tests.jwt.signers import StoredSigners
from tests.jwt.signing import RSA, SECRET, access_claims, pem, signed

pytestmark = pytest.mark.django_db

HS = WantedKey("HS256", "k1", KeyKind.SECRET, SECRET)
PEM = WantedKey("RS256", "", KeyKind.PEM, pem(RSA))


def shop(*keys: WantedKey, **fields: Any) -> None:
    service.make({"name": "shop", **fields}, keys or [HS])


def printed(*arguments: str) -> str:
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue().strip()


def refused(*arguments: str) -> str:
    """What a command prints that fails, and its error."""
    output = StringIO()
    with pytest.raises(CommandError) as error:
        call_command(*arguments, stdout=output)
    return f"{output.getvalue()}{error.value}"


def grant_of(token: str) -> Grant:
    return async_to_sync(AccessTokens(StoredSigners(load)).verify)(token)


# --- gentoken --------------------------------------------------------------------------------------------


def test_token_with_everything() -> None:
    shop(audiences=["a", "b"])

    token = printed(
        "gentoken",
        *("--issuer", "shop", "--sub", "alice", "--jti", "t1", "--name", "Alice", "--ttl", "60"),
        *("--subscribe", "room:bus/*", "--subscribe", "user:5", "--publish", "*"),
    )

    grant = grant_of(token)
    assert (grant.identity, grant.issuer, grant.jti, grant.name) == ("alice", "shop", "t1", "Alice")
    assert grant.subscribe.texts == ("room:bus/*", "user:5")
    assert grant.publish.texts == ("*",)
    assert grant.expires_at - grant.issued_at == 60
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "kid": "k1", "typ": "JWT"}


def test_least_token_allows_nothing() -> None:
    shop()

    token = printed("gentoken", "--issuer", "shop", "--sub", "alice")

    assert set(jwt.decode(token, options={"verify_signature": False})) == {"iss", "sub", "iat", "exp"}
    assert not grant_of(token).may_subscribe("room:a/b")


def test_newest_secret_signs() -> None:
    shop(
        HS,
        WantedKey("HS512", "k2", KeyKind.SECRET, "n" * 64),
        WantedKey("HS256", "k3", KeyKind.SECRET, SECRET, False),
    )

    token = printed("gentoken", "--issuer", "shop", "--sub", "alice")

    assert jwt.get_unverified_header(token)["kid"] == "k2"
    assert grant_of(token).subject == "alice"


def test_issuer_without_a_secret_cannot_sign() -> None:
    shop(PEM)

    sentence = refused("gentoken", "--issuer", "shop", "--sub", "alice")

    assert sentence == (
        "shop has no active shared secret to sign with; with a public key signatures are checked, not made"
    )


ERRORS: dict[str, tuple[list[str], str]] = {
    "nobody": (["--issuer", "nobody", "--sub", "a"], "there is no issuer nobody"),
    "no sub": (["--issuer", "shop"], "--issuer needs --sub"),
    "empty sub": (["--issuer", "shop", "--sub", ""], "sub: expected a string of 1 to 255 characters"),
    "long sub": (["--issuer", "shop", "--sub", "a" * 256], "sub: expected a string of 1 to 255"),
    "bad pattern": (["--issuer", "shop", "--sub", "a", "--publish", "x"], "publish: expected an address"),
    "no signer": (["--sub", "a"], "one of the arguments --issuer --publisher is required"),
    "both": (["--issuer", "shop", "--publisher", "demo", "--sub", "a"], "not allowed with argument"),
    "no customer": (["--publisher", "demo", "--sub", "a"], "--publisher needs --customer"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_gentoken_says_what_is_wrong(case: str) -> None:
    arguments, sentence = ERRORS[case]
    shop()

    assert sentence in refused("gentoken", *arguments)


def test_disabled_issuer_and_one_without_keys_do_not_sign() -> None:
    shop(enabled=False)
    service.make({"name": "bare"}, [])

    assert "is disabled" in refused("gentoken", "--issuer", "shop", "--sub", "alice")
    assert (
        refused("gentoken", "--issuer", "bare", "--sub", "a")
        == "bare has no active shared secret to sign with"
    )


# --- checktoken ------------------------------------------------------------------------------------------


def test_good_access_token_is_told_claim_by_claim() -> None:
    shop()

    output = printed("checktoken", printed("gentoken", "--issuer", "shop", "--sub", "alice"))

    parts = [
        "iss",
        "signature, alg, kid",
        "exp",
        "nbf",
        "iat",
        "aud",
        "sub",
        "jti",
        "name",
        "subscribe",
        "publish",
    ]
    assert output.splitlines() == ["kind: access token", *(f"{part}: ok" for part in parts)]


def test_every_wrong_claim_is_told() -> None:
    shop()
    wrong = access_claims(
        exp=1, nbf="x", iat=True, aud="a", sub=5, jti="", name=[], subscribe="*", publish=["x"]
    )

    lines = refused("checktoken", signed(wrong)).splitlines()

    assert lines[:3] == ["kind: access token", "iss: ok", "signature, alg, kid: ok"]
    assert [line.partition(":")[0] for line in lines if line.endswith(": ok")] == [
        "iss",
        "signature, alg, kid",
    ]
    assert "exp: expired" in lines
    assert lines[-1] == "this token is refused"


def test_customer_token_is_known_by_its_publisher_even_with_an_iss() -> None:
    publisher, _ = create_publisher("films")
    publisher.issuers = "shop"
    publisher.save()
    shop()

    output = printed("checktoken", customer_token(publisher, "carol", 60))

    assert output.splitlines()[:2] == ["kind: customer token", "publisherId: ok"]
    assert "iss: ok" in output


UNREADABLE: dict[str, tuple[str, str]] = {
    "no token": ("nonsense", "token: not a JWT"),
    "too long": ("a" * 9000, "token: longer than 8192 characters"),
    "neither claim": (
        signed({"sub": "a"}),
        "kind: expected the claim publisherId (customer token) or iss",
    ),
    "nobody": (signed(access_claims(iss="nobody")), "iss: no enabled issuer 'nobody'"),
    "iss is a number": (signed(access_claims(iss=5)), "iss: expected a string"),
    "another secret": (signed(access_claims(), "w" * 32), "signature: no key fits"),
    "another algorithm": (
        signed(access_claims(), SECRET, "HS512"),
        "kid: no active key has this kid and algorithm",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_checktoken_ends_where_it_can_see_no_further(case: str) -> None:
    token, sentence = UNREADABLE[case]
    shop()

    output = refused("checktoken", token)

    assert sentence in output
    assert "exp:" not in output
    assert SECRET not in output
    assert token not in output


def test_token_is_read_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    shop()
    monkeypatch.setattr("sys.stdin", StringIO(signed(access_claims()) + "\n"))

    assert printed("checktoken", "-").startswith("kind: access token")


def test_keys_that_cannot_be_fetched_are_told() -> None:
    shop(WantedKey("RS256", "", KeyKind.JWKS, "http://127.0.0.1:1/jwks?secret=unmistakable"))

    output = refused("checktoken", signed(access_claims(), RSA, "RS256"))

    assert "http://127.0.0.1:1/jwks: " in output
    assert "unmistakable" not in json.dumps(output)
