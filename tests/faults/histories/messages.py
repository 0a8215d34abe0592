"""Histories of messages."""

from __future__ import annotations

from faults.checkers import delivery
from tests.faults.histories.line import AT, QUIET, Cases, Line

SUBSCRIBED = (1, "r", "subscribed", AT)


def told(at: float, who: str = "r", *addresses: str) -> Line:
    return at, who, "told", {"addresses": addresses or ("A",)}


BREAK = (told(4), (4, "r", "unsubscribed", AT), (4, "r", "absent", AT))
BACK = (6, "r", "recovered", AT)


def published(at: float, number: int) -> Line:
    return at, "s", "published", {"address": "A", "number": number, "begun": at - 0.1}


def received(at: float, number: int) -> Line:
    return at, "r", "received", {"address": "A", "sender": "s", "number": number}


MESSAGES: Cases = {
    "all": (set(), (SUBSCRIBED, published(2, 1), received(3, 1), published(4, 2), received(5, 2), QUIET)),
    "out of order": (
        {delivery.ORDER},
        (SUBSCRIBED, published(2, 1), published(2, 2), received(3, 2), received(4, 1), QUIET),
    ),
    "twice": ({delivery.ONCE}, (SUBSCRIBED, published(2, 1), received(3, 1), received(4, 1), QUIET)),
    "again over another connection": (
        set(),
        (
            SUBSCRIBED,
            published(2, 1),
            received(3, 1),
            told(4),
            (5, "r", "connected", AT),
            received(6, 1),
            QUIET,
        ),
    ),
    "one is missing": (
        {delivery.SILENCE},
        (
            SUBSCRIBED,
            published(2, 1),
            published(3, 2),
            published(4, 3),
            received(5, 1),
            received(6, 3),
            QUIET,
        ),
    ),
    "the last is missing": ({delivery.SILENCE}, (SUBSCRIBED, published(2, 1), QUIET)),
    "one is missing, told": (
        set(),
        (
            SUBSCRIBED,
            published(2, 1),
            received(3, 1),
            published(4, 2),
            told(5),
            published(6, 3),
            received(7, 3),
            QUIET,
        ),
    ),
    "told before what came last": (
        {delivery.SILENCE},
        (
            SUBSCRIBED,
            told(2),
            published(3, 1),
            received(4, 1),
            published(5, 2),
            published(6, 3),
            received(7, 3),
            QUIET,
        ),
    ),
    "told to another one": ({delivery.SILENCE}, (SUBSCRIBED, published(2, 1), told(3, "q"), QUIET)),
    "told of another address": (
        {delivery.SILENCE},
        (SUBSCRIBED, published(2, 1), told(3, "r", "B", "C"), QUIET),
    ),
    "told of this one, too": (set(), (SUBSCRIBED, published(2, 1), told(3, "r", "B", "A"), QUIET)),
    "told before it was sent": ({delivery.SILENCE}, (SUBSCRIBED, told(2), published(3, 1), QUIET)),
    "told behind what came next": (
        {delivery.SILENCE},
        (SUBSCRIBED, published(2, 1), published(3, 2), received(4, 2), told(5), QUIET),
    ),
    "counted as lost": (set(), (SUBSCRIBED, published(2, 1), (3, "server", "lost"), QUIET)),
    "counted before it was sent": (
        {delivery.SILENCE},
        (SUBSCRIBED, (1.5, "server", "lost"), published(2, 1), QUIET),
    ),
    "told before it came back": (
        {delivery.SILENCE},
        (SUBSCRIBED, told(2), (3, "r", "subscribed", AT), published(4, 1), QUIET),
    ),
    "sent before it came back": (
        set(),
        (
            SUBSCRIBED,
            told(2),
            (2, "r", "unsubscribed", AT),
            published(2.5, 1),
            (3, "r", "subscribed", AT),
            QUIET,
        ),
    ),
    "recovered, and nothing is missing": (
        set(),
        (SUBSCRIBED, published(2, 1), received(3, 1), *BREAK, published(5, 2), BACK, received(7, 2), QUIET),
    ),
    "recovered, and one is missing": (
        {delivery.SILENCE},
        (SUBSCRIBED, *BREAK, published(5, 1), BACK, published(7, 2), received(8, 2), QUIET),
    ),
    "recovered, and one comes again": (
        {delivery.ONCE},
        (SUBSCRIBED, published(2, 1), received(3, 1), *BREAK, BACK, received(7, 1), QUIET),
    ),
    "not recovered": (set(), (SUBSCRIBED, *BREAK, published(5, 1), (6, "r", "connected", AT), QUIET)),
    "before the subscription": (set(), (published(0.5, 1), SUBSCRIBED, QUIET)),
    "after the subscription": (
        set(),
        (SUBSCRIBED, (2, "r", "unsubscribed", AT), published(3, 1), QUIET),
    ),
}
