"""Customer tokens: whatever is wrong with one, the answer is the same 401, and nothing of it is logged."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing_app.core.jwt.algorithms import KeyKind, check_material
from routing_app.core.jwt.signature import KnownKey
from routing_app.core.jwt.token import TokenRefused
from sessions_app.access import CustomerTokens
from tests.jwt.signers import FixedSigners
from tests.jwt.signing import EC, ED, OTHER_RSA, RSA, pem
from tests.sessions.conftest import Broker
from tests.sessions.http import Http
from tests.sessions.signing import SECRET, check, claims, known

HS = KnownKey(KeyKind.SECRET, "HS256", "k1", SECRET)


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


# --- what is accepted ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "private"),
    [("RS256", RSA), ("PS256", RSA), ("ES256", EC), ("EdDSA", ED)],
)
async def test_public_keys_verify(algorithm: str, private: Any) -> None:
    check_material(KeyKind.PEM, algorithm, pem(private))
    key = KnownKey(KeyKind.PEM, algorithm, "k1", pem(private))
    token = jwt.encode(claims(), private, algorithm, headers={"kid": "k1"})

    assert await check(token, known(key)) == "alice"


async def test_both_keys_are_valid_while_they_are_rotated() -> None:
    old, new = (
        KnownKey(KeyKind.SECRET, "HS256", "old", SECRET),
        KnownKey(KeyKind.SECRET, "HS256", "new", "n" * 32),
    )

    for kid, secret in (("old", SECRET), ("new", "n" * 32), (None, SECRET), (None, "n" * 32)):
        token = jwt.encode(claims(), secret, "HS256", headers={"kid": kid} if kid else None)
        assert await check(token, known(new, old)) == "alice"
    with pytest.raises(TokenRefused, match="signature"):
        await check(jwt.encode(claims(), SECRET, "HS256"), known(new))


async def test_listed_audience_and_issuer_are_accepted() -> None:
    publisher = known(HS, audiences=("a1", "a2"), issuers=("i1",))

    for audience in ("a2", ["x", "a1"]):
        assert await check(jwt.encode(claims(aud=audience, iss="i1"), SECRET, "HS256"), publisher) == "alice"


async def test_clocks_may_differ_by_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = int(time.time())
    monkeypatch.setattr("routing_app.core.jwt.claims.time", lambda: float(now))

    for times in ({"exp": now - 4.5}, {"nbf": now + 5}, {"exp": now + 0.5, "nbf": now - 0.5}):
        assert await check(jwt.encode(claims(**times), SECRET, "HS256"), known(HS)) == "alice"
    for times in ({"exp": now - 5}, {"nbf": now + 5.5}):
        with pytest.raises(TokenRefused):
            await check(jwt.encode(claims(**times), SECRET, "HS256"), known(HS))


async def test_kid_is_no_matter_to_a_key_without_one() -> None:
    publisher = known(
        KnownKey(KeyKind.SECRET, "HS256", "", SECRET),
        KnownKey(KeyKind.SECRET, "HS256", "k", "n" * 32),
    )

    assert await check(jwt.encode(claims(), SECRET, "HS256", headers={"kid": "k"}), publisher) == "alice"
    with pytest.raises(TokenRefused, match="signature"):
        await check(jwt.encode(claims(), "n" * 32, "HS256", headers={"kid": "other"}), publisher)


# --- what is not -----------------------------------------------------------------------------------------


def refused_tokens(secret: str) -> dict[str, tuple[str, str]]:
    """Tokens that are wrong in one part, which is named; the rest is right for a publisher with `secret`."""
    now = int(time.time())
    return {
        "expired": ("exp", jwt.encode(claims(exp=now - 60), secret, "HS256")),
        "without exp": ("exp", jwt.encode(claims(exp=None), secret, "HS256")),
        "exp is a string": ("exp", jwt.encode(claims(exp="soon"), secret, "HS256")),
        "exp is infinite": ("token", jwt.encode(claims(exp=float("inf")), secret, "HS256")),
        "not yet valid": ("nbf", jwt.encode(claims(nbf=now + 600), secret, "HS256")),
        "exp is a number in a string": ("exp", jwt.encode(claims(exp=str(now + 900)), secret, "HS256")),
        "exp is true": ("exp", jwt.encode(claims(exp=True), secret, "HS256")),
        "nbf is a number in a string": ("nbf", jwt.encode(claims(nbf=str(now)), secret, "HS256")),
        "iat is a number in a string": ("iat", jwt.encode(claims(iat=str(now)), secret, "HS256")),
        "audience nobody listed": ("aud", jwt.encode(claims(aud="else"), secret, "HS256")),
        "issuer nobody listed": ("iss", jwt.encode(claims(iss="else"), secret, "HS256")),
        "wrong secret": ("signature", jwt.encode(claims(), "w" * 32, "HS256")),
        "wrong kid": ("kid", jwt.encode(claims(), secret, "HS256", headers={"kid": "else"})),
        "other hash": ("kid", jwt.encode(claims(), secret * 2, "HS512")),
        "none": ("kid", jwt.encode(claims(), "", "none")),
        "NONE": ("kid", f"{encoded({'alg': 'NONE', 'typ': 'JWT'})}.{encoded(claims())}."),
        "no alg": ("kid", f"{encoded({'typ': 'JWT'})}.{encoded(claims())}.x"),
        "alg is a list": ("kid", f"{encoded({'alg': ['HS256']})}.{encoded(claims())}.x"),
        "signature cut off": ("signature", jwt.encode(claims(), secret, "HS256").rpartition(".")[0] + "."),
        "unknown publisher": ("publisherId", jwt.encode(claims(publisherId="else"), secret, "HS256")),
        "no publisher": ("publisherId", jwt.encode(claims(publisherId=None), secret, "HS256")),
        "no customer": ("customerId", jwt.encode(claims(customerId=None), secret, "HS256")),
        "empty customer": ("customerId", jwt.encode(claims(customerId=""), secret, "HS256")),
        "customer is true": ("customerId", jwt.encode(claims(customerId=True), secret, "HS256")),
        "customer is a list": ("customerId", jwt.encode(claims(customerId=["a"]), secret, "HS256")),
        "customer with NUL": ("customerId", jwt.encode(claims(customerId="a\0"), secret, "HS256")),
        "customer too long": ("customerId", jwt.encode(claims(customerId="a" * 256), secret, "HS256")),
        "16 KB": ("token", jwt.encode(claims(padding="p" * 12_000), secret, "HS256")),
        "deep": ("token", f"{encoded({'alg': 'HS256'})}.{base64.urlsafe_b64encode(b'[' * 5000).decode()}.x"),
        "not three parts": ("token", "a.b"),
        "payload is a list": ("token", f"{encoded({'alg': 'HS256'})}.{encoded([1])}.x"),
        "letters from elsewhere": ("token", "ä.ö.ü"),
        "critical extension": (
            "signature",
            jwt.encode(claims(), secret, "HS256", headers={"crit": ["x"], "x": 1}),
        ),
    }


@pytest.mark.parametrize("case", refused_tokens(SECRET))
async def test_refused_with_the_part_that_is_wrong(case: str) -> None:
    part, token = refused_tokens(SECRET)[case]

    with pytest.raises(TokenRefused) as refused:
        await check(token, known(HS))
    assert refused.value.claim == part
    assert token not in str(refused.value)


async def test_missing_audience_or_issuer_is_refused_where_the_publisher_lists_them() -> None:
    token = jwt.encode(claims(), SECRET, "HS256")

    for publisher, part in ((known(HS, audiences=("a",)), "aud"), (known(HS, issuers=("i",)), "iss")):
        with pytest.raises(TokenRefused) as refused:
            await check(token, publisher)
        assert refused.value.claim == part


async def test_public_key_is_no_shared_secret() -> None:
    """The classic: HS256 with the public key, as it is written, as secret."""
    public = pem(RSA)
    forged = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(claims())}"
    mac = hmac.new(public.encode(), forged.encode(), hashlib.sha256).digest()
    token = f"{forged}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    with pytest.raises(TokenRefused):
        await check(token, known(KnownKey(KeyKind.PEM, "RS256", "", public)))


async def test_key_of_the_token_is_never_used() -> None:
    """`jwk`, `jku` and `x5u` in a header say where a key is; ours come from the database alone."""
    headers = {"jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/keys"}
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_RSA.public_key()))
    token = jwt.encode(claims(), OTHER_RSA, "RS256", headers={**headers, "jwk": jwk})

    with pytest.raises(TokenRefused, match="signature"):
        await check(token, known(KnownKey(KeyKind.PEM, "RS256", "", pem(RSA))))


@given(st.text(max_size=300) | st.lists(st.text(max_size=60), min_size=3, max_size=3).map(".".join))
def test_no_text_breaks_the_check(token: str) -> None:
    async def findings() -> list[tuple[str, str]]:
        return [finding async for finding in CustomerTokens(FixedSigners(known(HS))).examine(token)]

    assert any(problem for _, problem in asyncio.run(findings()))


# --- the server's answer ---------------------------------------------------------------------------------


async def test_server_answers_all_alike_and_logs_no_token(broker: Broker, http: Http) -> None:
    tokens = {case: token for case, (_, token) in refused_tokens(broker.secret).items() if token.isascii()}
    tokens["endpoint's token"] = "a" * 16_000
    replies = {}
    for case, token in tokens.items():
        replies[case] = await http.request("POST", "/sessions", {"tag": "live"}, token)

    assert {reply.status for reply in replies.values()} == {401}
    assert len({reply.body for reply in replies.values()}) == 1
    log = broker.server.log_text()
    assert not [case for case, token in tokens.items() if token[:200] in log]


async def test_tokens_and_secrets_of_good_customers_are_not_logged_either(broker: Broker, http: Http) -> None:
    token = broker.token("a good customer")
    reply = await http.request("POST", "/sessions", {"tag": "live", "sessionName": "unmistakable"}, token)
    await http.request("GET", "/sessions", token=token)

    log = broker.server.log_text()
    assert token not in log
    assert reply.json["endpoint"] not in log
    assert "unmistakable" not in log
    assert log.count(broker.secret) == 1, "printed once, on the first run"


async def test_keys_that_cannot_be_fetched_are_503_and_log_and_metrics_say_why(
    broker: Broker, http: Http
) -> None:
    name, url = "walled", "http://127.0.0.1:1/jwks"
    broker.sql(
        "INSERT INTO sessions_app_publisher (name, tracking_enabled, audiences, issuers)"
        " VALUES (%s, %s, '', '')",
        name,
        True,
    )
    broker.sql(
        "INSERT INTO sessions_app_publisherkey (publisher_id, kind, algorithm, kid, material, active)"
        " SELECT id, 'jwks', 'RS256', '', %s, %s FROM sessions_app_publisher WHERE name = %s",
        url,
        True,
        name,
    )
    token = jwt.encode(claims(publisherId=name), RSA, "RS256", headers={"kid": "k1"})

    reply = await http.request("POST", "/sessions", {"tag": "live"}, token)

    assert (reply.status, reply.json["code"], reply.headers["retry-after"]) == (503, "Unavailable", "5")
    assert re.search(f"keys cannot be fetched from {url}: .*refused", broker.server.log_text())
    metrics = (await http.request("GET", "/metrics", X_API_Key=broker.server.api_key)).body
    assert re.search(rb'switchboard_jwks_fetches_total{outcome="unreachable"} [1-9]', metrics)
    assert re.search(rb'switchboard_refused_total{protocol="sessions",reason="unavailable"} [1-9]', metrics)
