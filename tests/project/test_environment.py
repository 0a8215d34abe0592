"""Settings are read strictly: a value that cannot be understood names its variable."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from routing_app.broker import stores
from routing_app.broker.environment import Environment, is_importable

pytestmark = pytest.mark.once


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
        Environment({"WHO": "some"}).string("WHO", "all", "Who.", ("all", "none"))


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("hush\n", encoding="utf-8")
    assert Environment({"KEY_FILE": str(tmp_path / "key")}).string("KEY", "", "A key.") == "hush"


def test_a_secret_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^KEY_FILE: cannot read /no/such/file"):
        Environment({"KEY_FILE": "/no/such/file"}).string("KEY", "", "A key.")


def test_an_empty_value_is_the_default() -> None:
    assert Environment({"PORT": ""}).integer("PORT", 8000, "Port.") == 8000


def test_words_are_all_of_the_kind_that_is_expected() -> None:
    environment = Environment({"NAMES": "a, b ,,C"})

    assert environment.words("NAMES", "", "Names.") == ["a", "b", "C"]
    with pytest.raises(ImproperlyConfigured, match=r"^NAMES: expected small letters, but got 'C'"):
        environment.words("NAMES", "", "Names.", str.islower, "small letters")


@pytest.mark.parametrize(
    ("name", "importable"),
    [
        ("examples.chat", True),
        ("routing_app.core.apps.CoreConfig", True),
        ("no.such.app", False),
        ("examples.no_such", False),
        ("no_such.apps.Config", False),
        ("", False),
        ("..", False),
    ],
)
def test_an_app_is_a_module_or_a_class_in_one(name: str, importable: bool) -> None:
    assert is_importable(name) is importable


@pytest.mark.parametrize("default", [3.0, 0.05, 2592000.0])
def test_seconds_are_documented_as_people_write_them(default: float) -> None:
    environment = Environment({})

    assert environment.seconds("WAIT", default, "Wait.") == default
    assert "e" not in environment.options[0].default


@pytest.mark.parametrize("folder", ["a b", "c#", "what?", "100%25"])
def test_the_folder_of_the_database_may_have_any_name(folder: str, tmp_path: Path) -> None:
    config = stores.database("", tmp_path / folder, 8, 10)

    assert config["NAME"] == str(tmp_path / folder / "switchboard.sqlite3")


@pytest.mark.parametrize("password", ["p/hush", "p?hush"])
def test_a_database_url_that_cannot_be_read_keeps_its_password(password: str, tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="^DATABASE_URL: expected") as error:
        stores.database(f"postgres://user:{password}@host/name", tmp_path, 8, 10)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_URL", "not a url"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("DATABASE_URL", "postgres://localhost"),
        ("CSRF_TRUSTED_ORIGINS", "example.com"),
        ("CSRF_TRUSTED_ORIGINS", "https://example.com/"),
        ("SECURE_COOKIES", "always"),
        ("HSTS_SECONDS", "-1"),
        ("HTTPS_REDIRECT", "perhaps"),
        ("IPV6_PREFIX", "0"),
        ("EXTRA_APPS", "no.such.app"),
        ("REDIS_URL", "http://localhost"),
        ("WORKERS", "0"),
        ("TOKENS_WIRE_COMPAT", "perhaps"),
        ("TOKENS_BROADCAST", "nobody"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    monkeypatch.setenv(name, value)
    settings_file = str(settings.BASE_DIR / "broker_project" / "settings.py")

    with pytest.raises(ImproperlyConfigured, match=rf"^{name}: expected [^\n]+$"):
        runpy.run_path(settings_file)


@pytest.mark.parametrize(("name", "value"), [("LOG_LEVEL", "LOUD"), ("TOKENS_ORIGINS", "self,example.com")])
def test_a_wrong_setting_is_one_line_of_any_command(tmp_path: Path, name: str, value: str) -> None:
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "check"]
    environment = {**os.environ, "VAR_DIR": str(tmp_path), name: value}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"switchboard: {name}: expected")
