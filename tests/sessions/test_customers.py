"""Customer tokens: whatever is wrong with one, the answer is the same 401, and nothing of it is logged."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from sessions_app.customers import Refused, authenticate, examine
from sessions_app.jwks import KeysUnavailable, key_set
from sessions_app.keys import ALGORITHMS, KeyKind, check_material
from sessions_app.publishers import Key, Known
from tests.sessions.conftest import Broker
from tests.sessions.http import Http

SECRET = "s" * 32
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def pem(private: Any) -> str:
    encoded: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    given = {"customerId": "alice", "publisherId": "demo", "iat": now, "exp": now + 900} | changes
    return {name: value for name, value in given.items() if value is not None}


def known(*keys: Key, audiences: tuple[str, ...] = (), issuers: tuple[str, ...] = ()) -> Known:
    return Known("demo", True, audiences, issuers, keys)


async def check(token: str, publisher: Known) -> str:
    async def find(name: str) -> Known | None:
        return publisher if name == "demo" else None

    return (await authenticate(token, find)).id


HS = Key(KeyKind.SECRET, "HS256", "", SECRET)


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


# --- what is accepted ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "private"),
    [("RS256", RSA), ("PS256", RSA), ("ES256", EC), ("EdDSA", ED)],
)
async def test_public_keys_verify(algorithm: str, private: Any) -> None:
    check_material(KeyKind.PEM, algorithm, pem(private))
    key = Key(KeyKind.PEM, algorithm, "k1", pem(private))
    token = jwt.encode(claims(), private, algorithm, headers={"kid": "k1"})

    assert await check(token, known(key)) == "alice"


async def test_both_keys_are_valid_while_they_are_rotated() -> None:
    old, new = Key(KeyKind.SECRET, "HS256", "old", SECRET), Key(KeyKind.SECRET, "HS256", "new", "n" * 32)

    for kid, secret in (("old", SECRET), ("new", "n" * 32), (None, SECRET), (None, "n" * 32)):
        token = jwt.encode(claims(), secret, "HS256", headers={"kid": kid} if kid else None)
        assert await check(token, known(new, old)) == "alice"
    with pytest.raises(Refused, match="signature"):
        await check(jwt.encode(claims(), SECRET, "HS256"), known(new))


async def test_listed_audience_and_issuer_are_accepted() -> None:
    publisher = known(HS, audiences=("a1", "a2"), issuers=("i1",))

    for audience in ("a2", ["x", "a1"]):
        assert await check(jwt.encode(claims(aud=audience, iss="i1"), SECRET, "HS256"), publisher) == "alice"


# --- what is not -----------------------------------------------------------------------------------------


def refused_tokens(secret: str) -> dict[str, tuple[str, str]]:
    """Tokens that are wrong in one part, which is named; the rest is right for a publisher with `secret`."""
    now = int(time.time())
    return {
        "expired": ("exp", jwt.encode(claims(exp=now - 60), secret, "HS256")),
        "without exp": ("exp", jwt.encode(claims(exp=None), secret, "HS256")),
        "exp is a text": ("exp", jwt.encode(claims(exp="soon"), secret, "HS256")),
        "exp is infinite": ("token", jwt.encode(claims(exp=float("inf")), secret, "HS256")),
        "not yet valid": ("nbf", jwt.encode(claims(nbf=now + 600), secret, "HS256")),
        "issued in the future": ("iat", jwt.encode(claims(iat=now + 600), secret, "HS256")),
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

    with pytest.raises(Refused) as refused:
        await check(token, known(HS))
    assert refused.value.claim == part
    assert token not in str(refused.value)


async def test_missing_audience_or_issuer_is_refused_where_the_publisher_lists_them() -> None:
    token = jwt.encode(claims(), SECRET, "HS256")

    for publisher, part in ((known(HS, audiences=("a",)), "aud"), (known(HS, issuers=("i",)), "iss")):
        with pytest.raises(Refused) as refused:
            await check(token, publisher)
        assert refused.value.claim == part


async def test_public_key_is_no_shared_secret() -> None:
    """The classic: HS256 with the text of the public key as secret."""
    public = pem(RSA)
    forged = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(claims())}"
    mac = hmac.new(public.encode(), forged.encode(), hashlib.sha256).digest()
    token = f"{forged}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    with pytest.raises(Refused):
        await check(token, known(Key(KeyKind.PEM, "RS256", "", public)))


async def test_key_of_the_token_is_never_used() -> None:
    """`jwk`, `jku` and `x5u` in a header say where a key is; ours come from the database alone."""
    headers = {"jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/keys"}
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_RSA.public_key()))
    token = jwt.encode(claims(), OTHER_RSA, "RS256", headers={**headers, "jwk": jwk})

    with pytest.raises(Refused, match="signature"):
        await check(token, known(Key(KeyKind.PEM, "RS256", "", pem(RSA))))


@given(st.text(max_size=300) | st.lists(st.text(max_size=60), min_size=3, max_size=3).map(".".join))
def test_no_text_breaks_the_check(token: str) -> None:
    findings = list(examine(token, lambda name: known(HS)))

    assert any(problem for _, problem in findings)


# --- JWKS ------------------------------------------------------------------------------------------------


class KeyServer:
    """Serves a JWKS on loopback and counts how often it was asked."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.asked = 0
        self.fails = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                body = json.dumps({"keys": outer.keys}).encode()
                self.send_response(500 if outer.fails else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks"
        self._thread = Thread(target=self._server.serve_forever)
        self._thread.start()

    def publish(self, private: Any, kid: str, **more: Any) -> None:
        jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key()))
        self.keys.append(jwk | {"kid": kid, "use": "sig"} | more)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    server = KeyServer()
    yield server
    server.stop()
    key_set.cache_clear()


async def test_keys_of_a_jwks_verify_and_are_kept(key_server: KeyServer) -> None:
    key_server.publish(RSA, "k1")
    key_server.publish(OTHER_RSA, "k2")
    publisher = known(Key(KeyKind.JWKS, "RS256", "", key_server.url))

    for kid, private in (("k1", RSA), ("k2", OTHER_RSA), (None, OTHER_RSA)) * 3:
        token = jwt.encode(claims(), private, "RS256", headers={"kid": kid} if kid else None)
        assert await check(token, publisher) == "alice"
    assert key_server.asked == 1


async def test_unknown_kids_do_not_make_a_storm_of_fetches(key_server: KeyServer) -> None:
    key_server.publish(RSA, "k1")
    publisher = known(Key(KeyKind.JWKS, "RS256", "", key_server.url))

    for number in range(30):
        token = jwt.encode(claims(), RSA, "RS256", headers={"kid": f"random{number}"})
        with pytest.raises(Refused):
            await check(token, publisher)
    assert key_server.asked <= 2


async def test_jwks_that_does_not_answer_is_no_verdict(key_server: KeyServer) -> None:
    url = key_server.url.replace("/jwks", "").rpartition(":")[0] + ":1/jwks"
    token = jwt.encode(claims(), RSA, "RS256", headers={"kid": "k1"})

    with pytest.raises(KeysUnavailable):
        await check(token, known(Key(KeyKind.JWKS, "RS256", "", url)))


async def test_jwks_that_has_failed_is_left_alone_for_a_while(
    key_server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = known(Key(KeyKind.JWKS, "RS256", "", key_server.url))
    token = jwt.encode(claims(), RSA, "RS256", headers={"kid": "k1"})
    now = time.monotonic()
    monkeypatch.setattr("sessions_app.jwks.monotonic", lambda: now)
    key_server.fails = True

    for _ in range(10):
        with pytest.raises(KeysUnavailable):
            await check(token, publisher)
    assert key_server.asked == 1
    key_server.fails = False
    key_server.publish(RSA, "k1")
    now += 6
    assert await check(token, publisher) == "alice"


async def test_secret_in_a_jwks_does_not_verify_for_a_public_algorithm(key_server: KeyServer) -> None:
    secret = base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("=")
    key_server.keys.append({"kty": "oct", "k": secret, "kid": "k1", "alg": "HS256"})
    publisher = known(Key(KeyKind.JWKS, "RS256", "", key_server.url))

    for algorithm, private in (("HS256", SECRET), ("RS256", RSA)):
        with pytest.raises(Refused):
            await check(jwt.encode(claims(), private, algorithm, headers={"kid": "k1"}), publisher)


# --- keys that cannot work -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "algorithm", "material"),
    [
        (KeyKind.SECRET, "HS256", "short"),
        (KeyKind.SECRET, "RS256", SECRET),
        (KeyKind.PEM, "HS256", pem(RSA)),
        (KeyKind.PEM, "RS256", "no key"),
        (KeyKind.PEM, "RS256", pem(EC)),
        (KeyKind.PEM, "ES384", pem(EC)),
        (KeyKind.PEM, "RS256", pem(rsa.generate_private_key(65537, 1024))),
        (KeyKind.JWKS, "HS256", "https://keys.example/jwks"),
        (KeyKind.JWKS, "RS256", "http://keys.example/jwks"),
        (KeyKind.JWKS, "RS256", "file:///etc/passwd"),
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
