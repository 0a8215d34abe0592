"""Login tokens end: by time, logout, password, operator; and their sockets learn it, on every worker."""

from __future__ import annotations

import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import jwt
import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.utils import timezone
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from routing_app.core.codes import EXPIRED, REVOKED
from routing_app.events import credentials
from routing_app.events.models import LoginToken, Root
from tests.events.client import PASSWORD, PUBLIC, Socket, call, ending_in, log_in, people
from tests.events.conftest import NewUser
from tests.services.server import Server

NEW_PASSWORD = "milk and honey at ten"


def change_password(server: Server, token: str) -> None:
    body = {"old_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert call(server, "POST", "/user/change_password", body, token).status == 200


def test_logout_ends_one_login_and_its_sockets(events: Server, new_user: NewUser):
    one = new_user()
    two = log_in(events, one.email)
    with (
        Socket(events, token=one.token) as first,
        Socket(events, auth=one.token) as second,
        Socket(events, token=two.token) as stays,
    ):
        assert call(events, "POST", "/user/logout", None, one.token).status == 200

        assert first.close_code() == second.close_code() == REVOKED.code
        assert stays.pending() == []
        assert stays.root_id == one.root_id
    assert call(events, "POST", "/user/logout", None, one.token).status == 401
    with Socket(events, token=one.token) as again:
        assert again.root_id == PUBLIC


def test_a_password_change_ends_every_login(events: Server, new_user: NewUser):
    user = new_user()
    other = log_in(events, user.email)
    with Socket(events) as changed, Socket(events, token=other.token) as by_header:
        changed.change_user(user.token)
        change_password(events, other.token)

        assert changed.close_code() == by_header.close_code() == REVOKED.code
    for token in (user.token, other.token):
        assert call(events, "POST", "/walker/typed", {"val": 1}, token).status == 401


def test_sockets_can_become_public_instead_of_closing(strict: Server):
    (user,) = people(strict, 1)
    with Socket(strict, "tea", user.token) as socket, Socket(strict, "tea") as other:
        before = socket.hello
        call(strict, "POST", "/user/logout", None, user.token)

        assert socket.receive() == {"type": "connection", "data": {**before, "root_id": PUBLIC}}
        publish(strict, f"user:{user.root_id}", "channel:tea")
        assert other.receive() == {"for": "channel:tea"}
        assert socket.pending() == [{"for": "channel:tea"}]


def publish(server: Server, *addresses: str) -> None:
    """Send each address its own name, as an operator."""
    for address in addresses:
        body = {"addresses": [address], "message": {"for": address}}
        assert call(server, "POST", "/api/publish", body, server.api_key).status == 200


def test_an_expired_token_closes_its_sockets(events: Server):
    socket, token = open_until_expiry(events)
    with socket:
        assert socket.close_code() == EXPIRED.code
    assert call(events, "POST", "/user/logout", None, token).status == 401


def test_an_expired_token_can_make_its_sockets_public(strict: Server):
    socket, _ = open_until_expiry(strict)
    with socket:
        assert socket.receive()["data"]["root_id"] == PUBLIC


def open_until_expiry(server: Server) -> tuple[Socket, str]:
    """A socket whose token ends soon, and the token: a second, or longer where the machine is too slow."""
    (user,) = people(server, 1)
    seconds = 1
    while True:
        token = ending_in(seconds, user.token)
        with suppress(InvalidStatus, ConnectionClosedError):  # it ended within the handshake
            socket = Socket(server, token=token)
            if socket.root_id == user.root_id:
                return socket, token
            socket.close()
        seconds *= 2


def test_no_socket_outlives_a_logout_that_came_while_it_connected(events: Server, new_user: NewUser):
    for _ in range(3):
        user = new_user()
        with ThreadPoolExecutor(9) as pool:
            connecting = [pool.submit(end_of_socket, events, user.token) for _ in range(8)]
            assert call(events, "POST", "/user/logout", None, user.token).status == 200
            ends = [one.result() for one in connecting]

        assert set(ends) <= {"public", "refused", REVOKED.code}


def end_of_socket(server: Server, token: str) -> str | int | None:
    """The end of a socket with a token that is revoked while it is open."""
    try:
        socket = Socket(server, token=token)
    except (InvalidStatus, ConnectionClosedError):
        return "refused"
    with socket:
        return "public" if socket.root_id == PUBLIC else socket.close_code()


def test_a_token_that_became_void_behind_our_back_ends_its_sockets_too(strict: Server):
    """As after a message that was lost: neither signal nor publication tells of it."""
    (user,) = people(strict, 1)
    with Socket(strict, token=user.token) as socket:
        assert socket.root_id == user.root_id
        call(strict, "POST", "/walker/deactivate_silently", {"user_id": user.id})
        assert socket.receive()["data"]["root_id"] == PUBLIC


def test_a_socket_that_changed_user_is_not_ended_with_its_former_login(events: Server, new_user: NewUser):
    one, two = new_user(), new_user()
    with Socket(events, token=one.token) as socket:
        socket.change_user(two.token)
        call(events, "POST", "/user/logout", None, one.token)

        assert socket.pending() == []
        assert socket.root_id == two.root_id


def test_every_worker_ends_its_sockets(pair: Server):
    (user,) = people(pair, 1)
    sockets = [Socket(pair, token=user.token) for _ in range(12)]
    call(pair, "POST", "/user/logout", None, user.token)

    assert [socket.close_code() for socket in sockets] == [REVOKED.code] * 12


def test_a_login_while_the_password_changes_is_not_an_old_one(events: Server, new_user: NewUser):
    """A login that saw the old password ends up before the change, and is void; or after it, and fails."""
    # The first login brings the hash up to date; Django does that without regard to a change in between.
    first = log_in(events, new_user().email)
    body = {"email": first.email, "password": PASSWORD}
    with ThreadPoolExecutor(6) as pool:
        logins = [pool.submit(call, events, "POST", "/user/login", body) for _ in range(4)]
        pool.submit(change_password, events, first.token).result()
        tokens = [answer.body["token"] for login in logins if (answer := login.result()).status == 200]

    assert all(call(events, "POST", "/user/logout", None, token).status == 401 for token in tokens)


# --- the tokens themselves -------------------------------------------------------------------------------


@pytest.fixture
def user(db: None, settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return get_user_model().objects.create_user(secrets.token_hex(6), password=PASSWORD)


def claims_of(user, **changes):
    now = int(time.time())
    row = LoginToken.objects.create(
        jti=secrets.token_hex(16), user=user, expires_at=timezone.now() + timedelta(hours=1)
    )
    return {"aud": credentials.AUDIENCE, "sub": str(user.pk), "jti": row.jti, "exp": now + 3600} | changes


def issued(user):
    result = credentials.issue(user)
    assert result is not None
    return result


def signed(claims, key=None, algorithm="HS256"):
    return jwt.encode(claims, settings.EVENTS_TOKEN_SECRET if key is None else key, algorithm)


def test_a_token_of_ours_is_valid_and_says_whose_it_is(user):
    token, row = issued(user)
    visitor = credentials.check(f"Bearer {token}")

    assert visitor is not None
    assert (visitor.root_id, visitor.user_id, visitor.jti) == (user.root.reference, user.pk, row.jti)
    assert visitor.expires_at == row.expires_at.timestamp()
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other"},
        {"aud": None},
        {"exp": 1},
        {"exp": "soon"},
        {"jti": "unknown"},
        {"jti": None},
        {"jti": 7},
    ],
)
def test_a_token_with_other_claims_is_not_valid(user, changes):
    claims = {name: value for name, value in claims_of(user, **changes).items() if value is not None}

    assert credentials.check(signed(claims_of(user))) is not None
    assert (
        credentials.check(
            jwt.api_jws.encode(json.dumps(claims).encode(), settings.EVENTS_TOKEN_SECRET, "HS256")
        )
        is None
    )


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_only_hs256_counts(user, algorithm):
    assert credentials.check(signed(claims_of(user), "k" * 64, algorithm)) is None
    assert credentials.check(signed(claims_of(user), settings.EVENTS_TOKEN_SECRET, algorithm)) is None


def test_a_token_without_a_signature_or_with_another_s_is_not_valid(user):
    claims = claims_of(user)

    assert credentials.check(signed(claims, "", "none")) is None
    assert credentials.check(signed(claims, "another key that is long enough, really")) is None
    assert credentials.check(signed(claims).rpartition(".")[0] + ".") is None


def test_the_token_of_an_inactive_user_is_not_valid_and_is_revoked(user):
    token, row = issued(user)
    user.is_active = False
    user.save()
    row.refresh_from_db()

    assert credentials.check(token) is None
    assert row.revoked_because == "user deactivated"


def test_a_password_that_code_or_a_command_changes_ends_every_login_too(user):
    token, row = issued(user)
    user.set_password(NEW_PASSWORD)
    user.save()
    row.refresh_from_db()

    assert credentials.check(token) is None
    assert row.revoked_because == "password changed"


def test_login_forgets_expired_tokens_of_the_user_alone(user):
    other = get_user_model().objects.create_user(secrets.token_hex(6), password=PASSWORD)
    past = timezone.now() - timedelta(seconds=1)
    old = [
        LoginToken.objects.create(jti=secrets.token_hex(16), user=one, expires_at=past)
        for one in (user, other)
    ]
    credentials.issue(user)

    assert set(LoginToken.objects.filter(pk__in=[row.pk for row in old])) == {old[1]}


def test_a_login_after_the_password_has_changed_gets_no_token(user):
    stale = get_user_model().objects.get(pk=user.pk)
    user.set_password(NEW_PASSWORD)
    user.save()

    assert credentials.issue(stale) is None


def test_every_user_has_a_root_of_its_own(user):
    other = get_user_model().objects.create_user(secrets.token_hex(6))

    assert user.root.hex_id != other.root.hex_id
    assert Root.objects.of(user) == user.root
    assert user.root.reference != PUBLIC
