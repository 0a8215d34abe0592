"""Settings are read strictly: a value that cannot be understood names its variable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from broker_project.environment import Environment


@pytest.mark.parametrize("value", ["maybe", "2", "ja", "truefalse"])
def test_a_boolean_is_yes_or_no(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^FLAG: expected yes or no, but got"):
        Environment({"FLAG": value}).boolean("FLAG", default=True, help="A flag.")


@pytest.mark.parametrize(("value", "expected"), [("yes", True), ("TRUE", True), ("1", True), ("off", False)])
def test_a_boolean_in_any_spelling(value: str, expected: bool) -> None:
    assert Environment({"FLAG": value}).boolean("FLAG", default=not expected, help="A flag.") is expected


@pytest.mark.parametrize("value", ["x", "1.5", "-1", "70000", "8000x"])
def test_a_number_has_bounds(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^PORT: expected"):
        Environment({"PORT": value}).integer("PORT", 8000, "Port.", 1, 65535)


@pytest.mark.parametrize("value", ["inf", "nan", "-0.1", "soon"])
def test_seconds_are_finite_and_not_negative(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^WAIT: expected"):
        Environment({"WAIT": value}).seconds("WAIT", 1.0, "Wait.")


def test_a_choice_is_one_of_its_words() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^WHO: expected one of all, none, but got 'some'"):
        Environment({"WHO": "some"}).text("WHO", "all", "Who.", ("all", "none"))


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hush\n", encoding="utf-8")
    assert Environment({"KEY_FILE": str(tmp_path / "key")}).text("KEY", "", "A key.") == "hush"


def test_a_secret_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^KEY_FILE: cannot read /no/such/file"):
        Environment({"KEY_FILE": "/no/such/file"}).text("KEY", "", "A key.")


def test_an_empty_value_is_the_default() -> None:
    assert Environment({"PORT": ""}).integer("PORT", 8000, "Port.") == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_URL", "not a url"),
        ("REDIS_URL", "http://localhost"),
        ("WORKERS", "0"),
        ("TOKENS_WIRE_COMPAT", "perhaps"),
        ("TOKENS_BROADCAST", "nobody"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(name: str, value: str, tmp_path: Path) -> None:
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "check"]
    environment = {**os.environ, "VAR_DIR": str(tmp_path), name: value}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"switchboard: {name}: expected")
