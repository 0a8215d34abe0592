"""Histories of requests, webhooks, revocations and registrations."""

from __future__ import annotations

from faults.checkers import registrations, requests, revocations, webhooks
from tests.faults.histories.line import QUIET, Cases, Line


def request(at: float, what: str) -> Line:
    return at, "r", what, {"request": "q"}


def change(at: float, what: str) -> Line:
    return at, "w", f"change.{what}", {"change": "x"}


def report(at: float, delivery: str = "d") -> Line:
    return at, "receiver", "hook.received", {"change": "x", "delivery": delivery}


def named(at: float, what: str) -> Line:
    return at, "n", what, {"name": "alice"}


def registration(at: float, what: str) -> Line:
    return at, "registrar", f"registration.{what}", {"kind": "token", "name": "abc"}


def registered(at: float, *names: str, kind: str = "token") -> Line:
    return at, "registrar", "registration.listed", {"kind": kind, "names": list(names), "begun": at - 1}


DELETED = (registration(2, "deleting"), registration(2.5, "deleted"))

OTHERS: Cases = {
    "answered": (set(), (request(1, "asked"), request(2, "partial"), request(3, "answered"), QUIET)),
    "given up": (set(), (request(1, "asked"), request(3, "gave_up"), QUIET)),
    "answered twice": ({requests.ONE}, (request(1, "asked"), request(2, "answered"), request(3, "answered"))),
    "a part behind the answer": (
        {requests.LATE},
        (request(1, "asked"), request(2, "answered"), request(3, "partial")),
    ),
    "never answered": ({requests.END}, (request(1, "asked"), QUIET)),
    "reported": (set(), (change(1, "begun"), change(2, "committed"), report(3), report(4), QUIET)),
    "not reported": ({webhooks.LEAST}, (change(1, "begun"), change(2, "committed"), QUIET)),
    "rolled back": (set(), (change(1, "begun"), change(2, "rolled_back"), QUIET)),
    "rolled back, and reported": ({webhooks.NONE}, (change(1, "begun"), change(2, "rolled_back"), report(3))),
    "nobody knows": (set(), (change(1, "begun"), report(3), QUIET)),
    "reported as two": ({webhooks.SAME}, (change(2, "committed"), report(3, "d"), report(4, "e"), QUIET)),
    "gone": (set(), (named(1, "served"), named(2, "revoked"), named(7, "served"))),
    "served after it": ({revocations.GONE}, (named(2, "revoked"), named(9, "served"))),
    "let in after it": ({revocations.GONE}, (named(2, "revoked"), named(9, "let_in"))),
    "served in a fault": (
        set(),
        ((1, "nemesis", "fault", {"name": "x", "number": 1}), named(2, "revoked"), named(9, "served")),
    ),
    "registered": (set(), (registration(1, "created"), registered(3, "abc", "open"))),
    "registered, and lost": ({registrations.KEPT}, (registration(1, "created"), registered(3))),
    "registered while it is listed": (set(), (registration(2.5, "created"), registered(3))),
    "another kind is listed": (set(), (registration(1, "created"), registered(3, kind="user"))),
    "perhaps deleted": (set(), (registration(1, "created"), registration(2, "deleting"), registered(4))),
    "deleted": (set(), (registration(1, "created"), *DELETED, registered(4))),
    "deleted, and back": ({registrations.GONE}, (registration(1, "created"), *DELETED, registered(4, "abc"))),
    "deleted while it is listed": (set(), (registration(1, "created"), *DELETED, registered(3, "abc"))),
}
