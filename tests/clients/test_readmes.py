"""The READMEs of both clients name the close codes after which they stay away, and come back at once."""

from __future__ import annotations

import re

import pytest
from switchboard_client.dialing import AT_ONCE, STAY_AWAY

from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once


def codes(text: str) -> set[int]:
    """The codes in a list such as "1000, 1007 to 1010"."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d{4})(?: to (\d{4}))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return found


@pytest.mark.parametrize("client", ["python", "js"])
def test_they_name_the_codes_that_decide(client: str) -> None:
    text = " ".join((REPOSITORY / "clients" / client / "README.md").read_text("utf-8").split())
    sentence = re.search("Close codes decide: ([^.]*) mean stay away, ([^.]*) come back now", text)
    assert sentence is not None
    assert codes(sentence[1]) == STAY_AWAY
    assert codes(sentence[2]) == AT_ONCE
