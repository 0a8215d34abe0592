"""How hooks fare, asked of every worker."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.hooks.backend import ALLOW, Hooks
from tests.services.server import Server

NONE = dict.fromkeys(("allowed", "refused", "answered", "failed", "busy", "left_alone"), 0)


def test_each_worker_counts_what_its_questions_came_to(broker: Server, hooks: Hooks) -> None:
    answers: list[Any] = [ALLOW, {"allow": False}, ALLOW, {"allow": 7}]
    with hooks.hook("tokens", "connect", "*", lambda asked: answers.pop(0)):
        [hook] = hooks.call("GET", "/api/hooks/")["results"]
        for _ in range(len(answers)):
            with suppress(InvalidStatus), connect(f"{broker.ws_url}/ws", proxy=None):
                pass
        states = [one for one in hooks.call("GET", "/api/hooks/states")["hooks"] if one["hook"] == hook["id"]]

    assert states
    assert not any(one["left_alone"] for one in states)
    outcomes = {name: sum(one["outcomes"][name] for one in states) for name in NONE}
    assert outcomes == NONE | {"allowed": 2, "refused": 1, "failed": 1}
    assert len({one["worker"] for one in states}) == len(states)
