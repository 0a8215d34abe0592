"""Accounts over HTTP: the original's bodies and statuses, Django's users and validators, and rates."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.events.client import PASSWORD, Socket, User, call, log_in, make_user, register
from tests.events.conftest import NewUser
from tests.services.limits import limited
from tests.services.server import Server


def locations(answer: Any) -> list[list[Any]]:
    """The places that the validation items of a 422 name."""
    assert answer.status == 422, answer
    return [item["loc"] for item in answer.body["detail"]]


def test_register_and_log_in_answer_as_the_original(events: Server):
    email = f"{secrets.token_hex(6)}@Example.com"
    body = {"email": email, "password": PASSWORD, "name": "ignored"}
    registered = call(events, "POST", "/user/register", body)
    assert (registered.status, registered.body) == (201, {"message": "Successfully Registered!"})

    answer = call(events, "POST", "/user/login", body)

    assert answer.status == 200
    assert set(answer.body) == {"token", "user"}
    user = answer.body["user"]
    assert set(user) == {"id", "email", "root_id", "is_activated", "is_admin", "expiration", "state"}
    assert user["email"] == email.lower()
    assert len(user["root_id"]) == 24
    assert (user["is_activated"], user["is_admin"]) == (True, False)


def test_an_e_mail_address_registers_once_in_any_case(events: Server):
    email = register(events)

    for again in (email, email.upper()):
        answer = call(events, "POST", "/user/register", {"email": again, "password": PASSWORD})
        assert (answer.status, answer.body) == (409, {"detail": "Already Exists!"})


def test_of_many_registrations_at_once_one_succeeds(events: Server):
    body = {"email": f"{secrets.token_hex(6)}@example.com", "password": PASSWORD}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: call(events, "POST", "/user/register", body).status, range(4)))

    assert sorted(answers) == [201, 409, 409, 409]


@pytest.mark.parametrize(
    "wrong",
    [{"password": "wrong"}, {"email": "nobody@example.com"}, {"email": "a\x00b"}, {"password": "\x00"}],
)
def test_a_login_that_does_not_fit_does_not_say_why(events: Server, ann: User, wrong: dict[str, str]):
    answer = call(events, "POST", "/user/login", {"email": ann.email, "password": PASSWORD} | wrong)

    assert (answer.status, answer.body) == (400, {"message": "Invalid Email/Password!"})


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (None, [["body"]]),
        ([], [["body"]]),
        ({}, [["body", "email"], ["body", "password"]]),
        ({"email": "no address", "password": PASSWORD}, [["body", "email"]]),
        ({"email": "a@example.com", "password": 1}, [["body", "password"]]),
        ({"email": f"{'a' * 150}@example.com", "password": PASSWORD}, [["body", "email"]]),
        ({"email": f"a@{'İ' * 60}.{'İ' * 60}.com", "password": PASSWORD}, [["body", "email"]]),
        (b"{", [["body", 1]]),
    ],
)
def test_a_wrong_registration_says_where(events: Server, body: Any, where: list[list[Any]]):
    assert locations(call(events, "POST", "/user/register", body)) == where


def test_a_body_that_is_too_large_is_a_413(events: Server):
    for path in ("/user/register", "/user/login"):
        answer = call(events, "POST", path, {"email": "x" * 3 * 2**20, "password": PASSWORD})
        assert (answer.status, answer.body) == (413, {"detail": "Payload Too Large"})


@pytest.mark.parametrize("password", ["short", "12345678901", "password123"])
def test_django_s_validators_have_their_say(events: Server, password: str):
    answer = call(events, "POST", "/user/register", {"email": "someone@example.com", "password": password})

    assert set(map(tuple, locations(answer))) == {("body", "password")}
    assert all(item["input"] is None for item in answer.body["detail"])


def test_a_user_of_the_admin_logs_in_with_the_e_mail_address(events: Server):
    email = make_user(events, named_by_address=False).email

    with Socket(events, token=log_in(events, email).token) as socket:
        assert socket.root_id != "n::000000000000000000000001"
    assert call(events, "POST", "/user/register", {"email": email, "password": PASSWORD}).status == 409


def test_the_password_changes_only_with_the_old_one_and_a_good_new_one(events: Server, new_user: NewUser):
    user = new_user()

    def change(old: str, new: str) -> Any:
        body = {"old_password": old, "new_password": new}
        return call(events, "POST", "/user/change_password", body, user.token)

    wrong = change("wrong", "milk and honey at ten")
    assert (wrong.status, wrong.body) == (403, {"message": "Update Failed!"})
    assert locations(change(PASSWORD, "1234")) == [["body", "new_password"]] * 3
    right = change(PASSWORD, "milk and honey at ten")
    assert (right.status, right.body) == (200, {"message": "Successfully Updated!"})
    assert call(events, "POST", "/user/login", {"email": user.email, "password": PASSWORD}).status == 400
    assert log_in(events, user.email, "milk and honey at ten").root_id == user.root_id


@pytest.mark.parametrize("path", ["/user/change_password", "/user/logout"])
def test_endpoints_of_users_need_a_token(events: Server, path: str):
    assert call(events, "POST", path, {}).body == {"detail": "Not authenticated"}
    assert call(events, "POST", path, {}).status == 403
    bad = call(events, "POST", path, {}, "nonsense")
    assert (bad.status, bad.body) == (401, {"detail": "Unauthorized"})


def test_an_api_key_is_no_login_token_and_a_login_token_no_api_key(events: Server, ann: User):
    assert call(events, "POST", "/user/logout", {}, events.api_key).status == 401
    assert call(events, "GET", "/api/channels/", None, ann.token).status == 401


def test_unknown_paths_and_methods_are_answered_in_the_original_s_shape(events: Server):
    assert call(events, "POST", "/user/nope", {}).body == {"detail": "Not Found"}
    answer = call(events, "GET", "/user/login")
    assert (answer.status, answer.body) == (405, {"detail": "Method Not Allowed"})


def test_healthz_is_200_and_empty(events: Server):
    answer = call(events, "GET", "/healthz")

    assert (answer.status, answer.body) == (200, None)


def test_registration_can_be_closed(strict: Server):
    answer = call(strict, "POST", "/user/register", {"email": "a@example.com", "password": PASSWORD})

    assert (answer.status, answer.body) == (403, {"detail": "Registration is closed"})


@pytest.mark.parametrize("one_or_two_workers", ["strict", "pair"])
def test_tries_to_log_in_are_bounded_also_at_once_and_over_workers(
    one_or_two_workers: str, request: pytest.FixtureRequest
):
    bounded: Server = request.getfixturevalue(one_or_two_workers)

    def try_(number: int) -> Any:
        body = {"email": "ann@example.com", "password": f"guess {number}"}
        # Were it believed, each try would come from an address of its own.
        return call(bounded, "POST", "/user/login", body, headers={"X-Forwarded-For": f"10.0.0.{number}"})

    # Five at once, by address and by user; a busy machine may take a minute, in which another one passes.
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(try_, range(24)))

    passed = [answer for answer in answers if answer.status == 400]
    stopped = [answer for answer in answers if answer.status == 429]
    assert 5 <= len(passed) <= 7
    assert len(stopped) == 24 - len(passed)
    assert int(stopped[0].headers["Retry-After"]) <= 60


def test_tries_to_change_a_password_are_bounded_for_the_user(events: Server, new_user: NewUser):
    user = new_user()
    guess = {"old_password": "a guess", "new_password": PASSWORD + "2"}
    with limited(events, "events", "login", "identity", burst=3):
        answers = [call(events, "POST", "/user/change_password", guess, user.token) for _ in range(5)]

    assert [answer.status for answer in answers] == [403, 403, 403, 429, 429]
    assert int(answers[-1].headers["Retry-After"]) > 60
