"""Keys that a publisher offers at a URL: how often it is asked, and who plays while it fails."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable

import jwt
import pytest

from sessions_app.access import CustomerRefused
from sessions_app.fetch import FetchFailed, Reason, redirected
from sessions_app.jwks import KeysUnavailable
from sessions_app.keys import KeyKind
from sessions_app.publishers import KnownKey
from tests.core.harness import Counted
from tests.services.waiting import until
from tests.sessions.key_server import (
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
    silent,
    token,
)
from tests.sessions.signing import EC, OTHER_RSA, RSA, SECRET, check, claims, known, pem

__all__ = ["clock", "key_server", "key_servers"]

pytestmark = pytest.mark.once


async def verdict(server: KeyServer, signed: str) -> str:
    """`plays`, `refused` or `unavailable`."""
    try:
        await check(signed, known(server.key))
    except CustomerRefused:
        return "refused"
    except KeysUnavailable:
        return "unavailable"
    return "plays"


async def test_keys_verify_and_are_kept(key_server: KeyServer, clock: Clock) -> None:
    key_server.publish(RSA, "k1")
    key_server.publish(OTHER_RSA, "k2")

    for _ in range(3):
        for kid, private in (("k1", RSA), ("k2", OTHER_RSA), (None, OTHER_RSA)):
            assert await verdict(key_server, token(private, kid)) == "plays"
        clock.passes(99)
    assert key_server.asked == 1
    clock.passes(5)
    assert await verdict(key_server, token(RSA, "k1")) == "plays"
    assert key_server.asked == 2


async def test_keys_without_kid_are_tried_for_every_token(key_server: KeyServer) -> None:
    key_server.publish(RSA, None)
    key_server.publish(OTHER_RSA, "k2")

    for signed in (token(RSA), token(RSA, "k1"), token(RSA, "k2"), token(OTHER_RSA, "k2"), token(OTHER_RSA)):
        assert await verdict(key_server, signed) == "plays"
    assert key_server.asked == 1


GOOD = {"as it should be": None, "firewall": firewall, "redirected once": redirects_once}


@pytest.mark.parametrize("case", GOOD)
async def test_keys_are_found_behind(case: str, key_server: KeyServer) -> None:
    key_server.publish(RSA, "k1")
    key_server.behave = GOOD[case]

    assert await verdict(key_server, token(RSA, "k1")) == "plays"


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
    case: str, key_server: KeyServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    behave, outcome, why, asked = BAD[case]
    counted = Counted("switchboard_jwks_fetches_total", outcome=outcome)
    key_server.publish(RSA, "k1")
    key_server.behave = behave

    for kid in ("k1", "other", None) * 3:
        assert await verdict(key_server, token(RSA, kid)) == "unavailable"
        clock.passes(0.5)
    assert key_server.asked == asked
    assert counted.grown == 1
    assert [why in record.message for record in caplog.records if "cannot be fetched" in record.message] == [
        True
    ]
    key_server.behave = None
    clock.passes(1)
    assert await verdict(key_server, token(RSA, "k1")) == "plays"


@pytest.mark.parametrize("behave", [fails, html, no_keys])
async def test_last_good_keys_are_used_for_a_day_while_the_url_fails(
    behave: Callable[[KeyServer, Handler], None], key_server: KeyServer, clock: Clock
) -> None:
    key_server.publish(RSA, "k1")
    assert await verdict(key_server, token(RSA, "k1")) == "plays"
    key_server.behave = behave

    for _ in range(10):
        clock.passes(301)
        for _ in range(5):
            assert await verdict(key_server, token(RSA, "k1")) == "plays"
    assert key_server.asked == 11
    assert await verdict(key_server, token(OTHER_RSA, "k2")) == "unavailable", "it may be a new key's"
    clock.passes(86_400)
    assert await verdict(key_server, token(RSA, "k1")) == "unavailable"
    key_server.behave = None
    clock.passes(5)
    assert await verdict(key_server, token(RSA, "k1")) == "plays"
    assert await verdict(key_server, token(OTHER_RSA, "k2")) == "refused"


async def test_unknown_kids_ask_every_30_seconds_at_most(key_server: KeyServer, clock: Clock) -> None:
    key_server.publish(RSA, "k1")

    for number in range(601):
        assert await verdict(key_server, token(RSA, f"random{number}")) == "refused"
        clock.passes(0.1)
    assert key_server.asked == 3, "once for the keys, and in the seconds 5 and 35"


@pytest.mark.parametrize("kid", ["k1", None])
async def test_key_that_was_replaced_is_found_early(
    kid: str | None, key_server: KeyServer, clock: Clock
) -> None:
    key_server.publish(RSA, kid)
    assert await verdict(key_server, token(RSA, "k1")) == "plays"
    key_server.keys.clear()
    key_server.publish(OTHER_RSA, kid)

    clock.passes(5)
    assert await verdict(key_server, token(OTHER_RSA, "k1")) == "plays"
    for _ in range(20):
        assert await verdict(key_server, token(RSA, "k1")) == "refused", "the old one is no longer offered"
        clock.passes(1)
    assert key_server.asked == 2


async def test_early_fetch_that_fails_takes_nobody_down(key_server: KeyServer, clock: Clock) -> None:
    key_server.publish(RSA, "k1")
    assert await verdict(key_server, token(RSA, "k1")) == "plays"
    key_server.behave = fails
    clock.passes(60)

    for _ in range(5):
        assert await verdict(key_server, token(OTHER_RSA, "k2")) == "refused"
        assert await verdict(key_server, token(RSA, "k1")) == "plays"
        clock.passes(4)
    assert key_server.asked == 2


async def test_slow_url_holds_up_nobody_elses_keys(key_servers: Callable[[], KeyServer]) -> None:
    slow, quick = key_servers(), key_servers()
    for server in (slow, quick):
        server.publish(RSA, "k1")
    slow.behave = silent

    waiting = [asyncio.create_task(verdict(slow, token(RSA, "k1"))) for _ in range(40)]
    await until(slow.entered.is_set)
    for _ in range(3):
        assert await verdict(quick, token(RSA, "k1")) == "plays"
    assert not any(task.done() for task in waiting)
    waiting[0].cancel()
    slow.released.set()
    assert await asyncio.gather(*waiting[1:]) == ["plays"] * 39
    assert slow.asked == 1


async def test_answer_that_does_not_end_is_waited_for_once(
    key_server: KeyServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is known to be late: nobody waits for it, and nobody asks again beside it."""
    monkeypatch.setattr("sessions_app.jwks.TOTAL_SECONDS", 0.1)
    key_server.publish(RSA, "k1")
    key_server.behave = silent

    assert await verdict(key_server, token(RSA, "k1")) == "unavailable"
    clock.passes(1)
    monkeypatch.setattr("sessions_app.jwks.TOTAL_SECONDS", 1000)
    for _ in range(10):
        assert await verdict(key_server, token(RSA, "k1")) == "unavailable"
    await until(key_server.entered.is_set)
    assert key_server.asked == 1


async def test_own_keys_need_no_url(key_server: KeyServer) -> None:
    key_server.publish(RSA, "k1")
    key_server.behave = fails
    publisher = known(key_server.key, KnownKey(KeyKind.PEM, "RS256", "k2", pem(OTHER_RSA)))

    assert await check(token(OTHER_RSA, "k2"), publisher) == "alice"
    assert key_server.asked == 0
    with pytest.raises(KeysUnavailable, match="status 500"):
        await check(token(RSA, "k1"), publisher)


async def test_url_that_nobody_listens_at_is_no_verdict(key_server: KeyServer) -> None:
    key = KnownKey(KeyKind.JWKS, "RS256", "", "http://user:unmistakable@127.0.0.1:1/jwks?secret=unmistakable")

    with pytest.raises(KeysUnavailable) as unavailable:
        await check(token(RSA, "k1"), known(key))
    assert "http://127.0.0.1:1/jwks: " in str(unavailable.value)
    assert "unmistakable" not in str(unavailable.value)


async def test_server_names_itself(key_server: KeyServer) -> None:
    key_server.publish(RSA, "k1")
    await verdict(key_server, token(RSA, "k1"))

    assert key_server.agents == ["Switchboard"]


async def test_key_of_another_kind_does_not_verify(key_server: KeyServer) -> None:
    """A secret among them is no key of a public algorithm, nor is one of another curve or for encryption."""
    secret = base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("=")
    key_server.keys.append({"kty": "oct", "k": secret, "kid": "k1", "alg": "HS256"})
    key_server.keys.append(jwt.algorithms.ECAlgorithm.to_jwk(EC.public_key(), as_dict=True) | {"kid": "k1"})
    key_server.publish(RSA, "k1", use="enc")

    for algorithm, private in (("HS256", SECRET), ("RS256", RSA)):
        signed = jwt.encode(claims(), private, algorithm, headers={"kid": "k1"})
        assert await verdict(key_server, signed) == "refused"


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
