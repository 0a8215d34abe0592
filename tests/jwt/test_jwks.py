"""Keys that are offered at a URL: how often it is asked, and whose tokens are good while it fails.

All of it for both kinds of tokens: those of issuers, and those of the sessions protocol's publishers.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import jwt
import pytest

from routing_app import __version__
from routing_app.core.jwt.algorithms import KeyKind
from routing_app.core.jwt.fetch import FetchFailed, Reason, redirected
from routing_app.core.jwt.jwks import KeysUnavailable
from routing_app.core.jwt.signature import KnownKey
from routing_app.core.jwt.token import TokenRefused
from tests.core.harness import Counted
from tests.jwt.key_server import (
    Clock,
    Handler,
    KeyServer,
    clock,
    endless,
    fails,
    firewall,
    hangs_up,
    html,
    key_server,
    key_servers,
    no_keys,
    nonsense,
    redirects_for_ever,
    redirects_once,
    redirects_to_plain_http,
    sends_what_it_had,
    silent,
)
from tests.jwt.signing import EC, OTHER_RSA, RSA, SECRET, access_claims, grant_of, issuer, pem
from tests.services.waiting import until
from tests.sessions.signing import check as customer_of
from tests.sessions.signing import claims as customer_claims
from tests.sessions.signing import known

__all__ = ["clock", "key_server", "key_servers"]

pytestmark = pytest.mark.once


@dataclass(frozen=True)
class User:
    """A kind of token, with a signer that has some keys."""

    claims: Callable[..., dict[str, Any]]
    check: Callable[[str, list[KnownKey]], Awaitable[Any]]

    def token(self, private: Any, kid: str | None = None, algorithm: str = "RS256") -> str:
        """A good token."""
        return jwt.encode(self.claims(), private, algorithm, {"kid": kid} if kid else None)

    async def verdict(self, server: KeyServer, signed: str) -> str:
        """`good`, `refused` or `unavailable`."""
        try:
            await self.check(signed, [server.key])
        except TokenRefused:
            return "refused"
        except KeysUnavailable:
            return "unavailable"
        return "good"


USERS = {
    "access tokens": User(access_claims, lambda signed, keys: grant_of(signed, issuer(*keys))),
    "customer tokens": User(customer_claims, lambda signed, keys: customer_of(signed, known(*keys))),
}


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> User:
    """Either of both."""
    return USERS[request.param]


async def test_keys_verify_and_are_kept(user: User, key_server: KeyServer, clock: Clock) -> None:
    key_server.publish(RSA, "k1")
    key_server.publish(OTHER_RSA, "k2")

    for _ in range(3):
        for kid, private in (("k1", RSA), ("k2", OTHER_RSA), (None, OTHER_RSA)):
            assert await user.verdict(key_server, user.token(private, kid)) == "good"
        clock.passes(99)
    assert key_server.asked == 1
    clock.passes(5)
    assert await user.verdict(key_server, user.token(RSA, "k1")) == "good"
    assert key_server.asked == 2


async def test_keys_without_kid_are_tried_for_every_token(user: User, key_server: KeyServer) -> None:
    key_server.publish(RSA, None)
    key_server.publish(OTHER_RSA, "k2")

    for signed in (
        user.token(RSA),
        user.token(RSA, "k1"),
        user.token(RSA, "k2"),
        user.token(OTHER_RSA, "k2"),
        user.token(OTHER_RSA),
    ):
        assert await user.verdict(key_server, signed) == "good"
    assert key_server.asked == 1


GOOD = {"as it should be": None, "firewall": firewall, "redirected once": redirects_once}


@pytest.mark.parametrize("case", GOOD)
async def test_keys_are_found_behind(user: User, case: str, key_server: KeyServer) -> None:
    key_server.publish(RSA, "k1")
    key_server.behave = GOOD[case]

    assert await user.verdict(key_server, user.token(RSA, "k1")) == "good"


BAD = {
    "500": (fails, Reason.STATUS, "status 500", 1),
    "redirects without end": (redirects_for_ever, Reason.REDIRECT, "more than 3 redirects", 4),
    "a redirect to http": (redirects_to_plain_http, Reason.REDIRECT, "not https", 1),
    "200 with HTML": (html, Reason.CONTENT, "not a JWKS", 1),
    "200 with a list": (lambda server, request: request.answer(200, b"[]"), Reason.CONTENT, "not a JWKS", 1),
    "no keys": (no_keys, Reason.CONTENT, "without keys", 1),
    "nonsense for keys": (nonsense, Reason.CONTENT, "without keys", 1),
    "2 MB": (endless, Reason.CONTENT, "more than 524288 bytes", 1),
    "an answer cut short": (hangs_up, Reason.CONTENT, "not a JWKS", 1),
}


@pytest.mark.parametrize("case", BAD)
async def test_failure_is_told_counted_and_not_repeated_at_once(
    user: User, case: str, key_server: KeyServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    behave, outcome, why, asked = BAD[case]
    counted = Counted("switchboard_jwks_fetches_total", outcome=outcome)
    key_server.publish(RSA, "k1")
    key_server.behave = behave

    for kid in ("k1", "other", None) * 3:
        assert await user.verdict(key_server, user.token(RSA, kid)) == "unavailable"
        clock.passes(0.5)
    assert key_server.asked == asked
    assert counted.grown == 1
    assert [why in record.message for record in caplog.records if "cannot be fetched" in record.message] == [
        True
    ]
    key_server.behave = None
    clock.passes(1)
    assert await user.verdict(key_server, user.token(RSA, "k1")) == "good"


@pytest.mark.parametrize("behave", [fails, html, no_keys])
async def test_last_good_keys_are_used_for_a_day_while_the_url_fails(
    user: User, behave: Callable[[KeyServer, Handler], None], key_server: KeyServer, clock: Clock
) -> None:
    key_server.publish(RSA, "k1")
    assert await user.verdict(key_server, user.token(RSA, "k1")) == "good"
    key_server.behave = behave

    for _ in range(10):
        clock.passes(301)
        for _ in range(5):
            assert await user.verdict(key_server, user.token(RSA, "k1")) == "good"
    assert key_server.asked == 11
    assert await user.verdict(key_server, user.token(OTHER_RSA, "k2")) == "unavailable", (
        "it may be a new key's"
    )
    clock.passes(86_400)
    assert await user.verdict(key_server, user.token(RSA, "k1")) == "unavailable"
    key_server.behave = None
    clock.passes(5)
    assert await user.verdict(key_server, user.token(RSA, "k1")) == "good"
    assert await user.verdict(key_server, user.token(OTHER_RSA, "k2")) == "refused"


async def test_unknown_kids_ask_every_30_seconds_at_most(
    user: User, key_server: KeyServer, clock: Clock
) -> None:
    key_server.publish(RSA, "k1")

    for number in range(481):
        assert await user.verdict(key_server, user.token(RSA, f"random{number}")) == "refused"
        clock.passes(0.125)
    assert key_server.asked == 4, "once for the keys, and in the seconds 0, 30 and 60"


@pytest.mark.parametrize("kid", ["k1", None])
async def test_key_that_was_replaced_is_found_early(
    user: User, kid: str | None, key_server: KeyServer, clock: Clock
) -> None:
    key_server.publish(RSA, kid)
    assert await user.verdict(key_server, user.token(RSA, "k1")) == "good"
    key_server.keys.clear()
    key_server.publish(OTHER_RSA, kid)

    assert await user.verdict(key_server, user.token(OTHER_RSA, "k1")) == "good"
    for _ in range(20):
        assert await user.verdict(key_server, user.token(RSA, "k1")) == "refused", (
            "the old one is no longer offered"
        )
        clock.passes(1)
    assert key_server.asked == 2


async def test_fetch_that_began_before_the_key_was_offered_is_not_the_last(
    user: User, key_server: KeyServer, clock: Clock
) -> None:
    """Tokens of both keys come while the old keys are on their way, and wait for that fetch."""
    key_server.publish(RSA, "k1")
    key_server.behave = sends_what_it_had

    old = asyncio.create_task(user.verdict(key_server, user.token(RSA, "k1")))
    await until(key_server.entered.is_set)
    key_server.behave = None
    key_server.publish(OTHER_RSA, "k2")
    new = [asyncio.create_task(user.verdict(key_server, user.token(OTHER_RSA, "k2"))) for _ in range(10)]
    await asyncio.sleep(0)
    key_server.released.set()

    assert await asyncio.gather(old, *new) == ["good"] * 11
    assert key_server.asked == 2


async def test_early_fetch_that_fails_takes_nobody_down(
    user: User, key_server: KeyServer, clock: Clock
) -> None:
    key_server.publish(RSA, "k1")
    assert await user.verdict(key_server, user.token(RSA, "k1")) == "good"
    key_server.behave = fails
    clock.passes(60)

    for _ in range(5):
        assert await user.verdict(key_server, user.token(OTHER_RSA, "k2")) == "refused"
        assert await user.verdict(key_server, user.token(RSA, "k1")) == "good"
        clock.passes(4)
    assert key_server.asked == 2


async def test_slow_url_holds_up_nobody_elses_keys(user: User, key_servers: Callable[[], KeyServer]) -> None:
    slow, quick = key_servers(), key_servers()
    for server in (slow, quick):
        server.publish(RSA, "k1")
    slow.behave = silent

    waiting = [asyncio.create_task(user.verdict(slow, user.token(RSA, "k1"))) for _ in range(40)]
    await until(slow.entered.is_set)
    for _ in range(3):
        assert await user.verdict(quick, user.token(RSA, "k1")) == "good"
    assert not any(task.done() for task in waiting)
    waiting[0].cancel()
    slow.released.set()
    assert await asyncio.gather(*waiting[1:]) == ["good"] * 39
    assert slow.asked == 1


async def test_answer_that_does_not_end_is_waited_for_once(
    user: User, key_server: KeyServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is known to be late: nobody waits for it, and nobody asks again beside it."""
    monkeypatch.setattr("routing_app.core.jwt.jwks.TOTAL_SECONDS", 0.1)
    key_server.publish(RSA, "k1")
    key_server.behave = silent

    assert await user.verdict(key_server, user.token(RSA, "k1")) == "unavailable"
    clock.passes(1)
    monkeypatch.setattr("routing_app.core.jwt.jwks.TOTAL_SECONDS", 1000)
    for _ in range(10):
        assert await user.verdict(key_server, user.token(RSA, "k1")) == "unavailable"
    await until(key_server.entered.is_set)
    assert key_server.asked == 1


async def test_own_keys_need_no_url(user: User, key_server: KeyServer) -> None:
    key_server.publish(RSA, "k1")
    key_server.behave = fails
    keys = [key_server.key, KnownKey(KeyKind.PEM, "RS256", "k2", pem(OTHER_RSA))]

    await user.check(user.token(OTHER_RSA, "k2"), keys)
    assert key_server.asked == 0
    with pytest.raises(KeysUnavailable, match="status 500"):
        await user.check(user.token(RSA, "k1"), keys)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:1", "user:unmistakable@127.0.0.1:1", "user:unmistakable@127.0.0.1"]
)
async def test_url_that_nobody_listens_at_is_no_verdict(
    user: User, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    key = KnownKey(KeyKind.JWKS, "RS256", "", f"http://{host}/jwks?secret=unmistakable")

    with pytest.raises(KeysUnavailable) as unavailable:
        await user.check(user.token(RSA, "k1"), [key])
    assert f"http://{host.rpartition('@')[2]}/jwks: " in str(unavailable.value)
    assert "unmistakable" not in f"{unavailable.value} {caplog.text}"


async def test_server_names_itself(user: User, key_server: KeyServer) -> None:
    key_server.publish(RSA, "k1")
    await user.verdict(key_server, user.token(RSA, "k1"))

    assert key_server.agents == [f"Switchboard/{__version__}"]


async def test_key_of_another_kind_does_not_verify(user: User, key_server: KeyServer) -> None:
    """A secret among them is no key of a public algorithm, nor is one of another curve or for encryption."""
    secret = base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("=")
    key_server.keys.append({"kty": "oct", "k": secret, "kid": "k1", "alg": "HS256"})
    key_server.keys.append(jwt.algorithms.ECAlgorithm.to_jwk(EC.public_key(), as_dict=True) | {"kid": "k1"})
    key_server.publish(RSA, "k1", use="enc")

    for algorithm, private in (("HS256", SECRET), ("RS256", RSA)):
        signed = user.token(private, "k1", algorithm)
        assert await user.verdict(key_server, signed) == "refused"


@pytest.mark.parametrize(
    ("url", "location", "leads_to"),
    [
        ("https://keys.example/a/b", "c?d", "https://keys.example/a/c?d"),
        ("https://keys.example/a", "https://other.example/b", "https://other.example/b"),
        ("http://127.0.0.1:1/a", "https://other.example/b", "https://other.example/b"),
    ],
)
def test_redirect_is_followed(url: str, location: str, leads_to: str) -> None:
    assert redirected(url, location) == leads_to


@pytest.mark.parametrize(
    "location",
    ["http://keys.example/a", "http://127.0.0.1/a", "http://localhost/a", "file:///etc/passwd", "//["],
)
def test_redirect_to_less_safety_is_not(location: str) -> None:
    with pytest.raises(FetchFailed) as failed:
        redirected("https://keys.example/a", location)
    assert failed.value.reason is Reason.REDIRECT
