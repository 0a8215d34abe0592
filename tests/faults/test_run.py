"""`make faults` on a machine that lacks what it needs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest

from faults import run
from tests.services.programs import ATTACK, Missing, Program

pytestmark = pytest.mark.once


def test_what_an_attack_needs_is_installed_before_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Sequence[Program]] = []

    def ensure(programs: Sequence[Program]) -> None:
        asked.append(programs)
        raise Missing("Missing: redis-server >= 7.")

    monkeypatch.setattr(run, "ensure", ensure)
    monkeypatch.setattr(sys, "argv", ["faults"])

    assert run.main() == 2
    assert asked == [ATTACK]
    assert capsys.readouterr().err == "Missing: redis-server >= 7.\n"
