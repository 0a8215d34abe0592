"""Missing programs of the tests are installed where that is possible, else one line says what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.services import programs
from tests.services.programs import Missing, Program, ensure

pytestmark = pytest.mark.once


@pytest.fixture
def present() -> set[str]:
    """Names of the programs that this imaginary machine has."""
    return set()


@pytest.fixture
def program(present: set[str]) -> Callable[[str], Program]:
    """Make a program that is found when `present` has its name."""
    return lambda name: Program(name, lambda: name in present, (f"{name}-server", f"{name}-tools"))


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch, present: set[str]) -> list[str]:
    """A machine where we are root and apt works; the list is what apt was asked to install."""
    asked: list[str] = []

    def install(names: Sequence[str]) -> bool:
        asked.extend(names)
        present.update(name.removesuffix("-server") for name in names)
        return True

    monkeypatch.setattr(programs, "_may_install", lambda: True)
    monkeypatch.setattr(programs, "_install", install)
    return asked


def test_only_missing_programs_are_installed(
    apt: list[str], program: Callable[[str], Program], present: set[str]
) -> None:
    present.add("redis")

    ensure([program("redis"), program("postgres")])

    assert apt == ["postgres-server", "postgres-tools"]


def test_programs_that_nothing_needs_are_not_installed(apt: list[str]) -> None:
    ensure([Program("browser", lambda: None, ("browser",), lambda: False)])

    assert apt == []


def test_an_installation_that_brings_too_little_is_told(apt: list[str]) -> None:
    with pytest.raises(Missing, match="apt-get install old"):
        ensure([Program("new >= 7", lambda: None, ("old",))])
    assert apt == ["old"]


def test_without_apt_one_line_names_the_missing_programs(
    monkeypatch: pytest.MonkeyPatch, program: Callable[[str], Program]
) -> None:
    monkeypatch.setattr(programs, "_may_install", lambda: False)

    with pytest.raises(Missing) as error:
        ensure([program("redis"), program("postgres")])

    assert str(error.value) == (
        "Missing: redis, postgres. "
        "Debian, Ubuntu: apt-get install redis-server redis-tools postgres-server postgres-tools"
    )


def test_an_optional_program_that_cannot_be_had_stops_nothing_and_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(programs, "_may_install", lambda: False)

    ensure([Program("proxy", lambda: None, ("proxy-server",), optional=True)])

    assert capsys.readouterr().out == (
        "A PART IS LEFT OUT. Missing: proxy. Debian, Ubuntu: apt-get install proxy-server\n"
    )


def test_what_cannot_be_done_without_is_installed_first(
    apt: list[str], program: Callable[[str], Program]
) -> None:
    ensure([Program("proxy", lambda: "proxy" in apt, ("proxy",), optional=True), program("redis")])

    assert apt == ["redis-server", "redis-tools", "proxy"]


def test_this_machine_has_all_that_its_tests_need() -> None:
    required = [one for one in programs.TESTS if not one.optional]
    missing = [one.name for one in required if one.needed() and not one.find()]

    assert missing == []
