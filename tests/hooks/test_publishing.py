"""Decisions on a message to several addresses, and binary data of a message that was replaced."""

from __future__ import annotations

from typing import Any

import pytest

from routing_app.core.address import make
from routing_app.core.hooks import publishing
from routing_app.core.hooks.hooks import Hooks
from routing_app.core.hooks.question import UNCHANGED, Question, Verdict
from routing_app.core.hooks.table import HookSet
from routing_app.rooms import binary
from routing_app.rooms.binary import Base64

pytestmark = pytest.mark.once


class Answers(Hooks):
    """Gives the answers of a test, by the names of the addresses."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def ask(self, hooks: HookSet, question: Question) -> Verdict:
        name = str(question.address).partition(":")[2]
        self.asked.append(name)
        answer = self.answers.get(name, UNCHANGED)
        return Verdict(allow=answer is not None, message=answer)


class Concerns(HookSet):
    """A set that concerns all addresses but `token:free`."""

    def __init__(self) -> None:
        super().__init__("publish", ())

    def concerns(self, name: str) -> bool:
        return name != "token:free"


async def decided(hooks: Answers, *names: str) -> tuple[list[tuple[list[str], Any]], list[str]]:
    addresses = [make("token", name) for name in names]
    decision = await publishing.decide(
        hooks, Concerns(), addresses, "as it came", lambda one: Question("tokens", "", "", "", None, one)
    )
    parts = [([one.partition(":")[2] for one in part.addresses], part.message) for part in decision.parts]
    return parts, [one.partition(":")[2] for one in decision.refused]


async def test_addresses_with_the_same_message_stay_together():
    hooks = Answers(no=None, one=1, true=True, same=1)
    parts, refused = await decided(hooks, "a", "no", "one", "true", "free", "same", "b", "a")
    assert parts == [(["a", "free", "b"], "as it came"), (["one", "same"], 1), (["true"], True)]
    assert parts[2][1] is True
    assert refused == ["no"]
    assert sorted(hooks.asked) == ["a", "b", "no", "one", "same", "true"]


async def test_every_address_of_many_is_asked_about_once():
    hooks = Answers()
    names = [str(number) for number in range(publishing.AT_ONCE * 3 + 1)]
    parts, refused = await decided(hooks, *names)
    assert parts == [(names, "as it came")]
    assert (hooks.asked, refused) == (names, [])


def test_binary_data_stays_where_the_new_message_still_has_it():
    data = Base64({"_base64": "ZGF0YQ=="})
    before = {"kept": data, "gone": data, "text": data, "wrong": data, "list": [data, 1]}
    after = {
        "kept": {"_base64": "bmV3"},
        "text": "x",
        "wrong": {"_base64": "not base64"},
        "list": [{"_base64": "ZGF0YQ=="}],
        "never": {"_base64": "ZGF0YQ=="},
    }
    carried = binary.carried_over(before, after)
    assert sorted(binary.paths(carried)) == [("kept",), ("list", 0)]
    assert binary.as_bytes(carried, binary.paths(carried))["kept"] == b"new"
    assert binary.paths(binary.carried_over(data, {"_base64": "bmV3"})) == ((),)
