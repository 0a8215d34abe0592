"""`switchboard`: the public names, and an import that needs no Django."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module

import pytest
from django.conf import settings

import switchboard
from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once


@pytest.mark.parametrize("name", switchboard.__all__)
def test_a_public_name_is_the_thing_itself(name: str):
    module, attribute = switchboard._HOMES[name]

    assert getattr(switchboard, name) is getattr(import_module(module), attribute)


def test_every_name_that_is_promised_has_a_home():
    assert set(switchboard.__all__) == set(switchboard._HOMES)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        switchboard.nothing  # noqa: B018


def test_importing_it_loads_nothing_of_django():
    script = "import sys, switchboard; print(any(name.startswith('django') for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("document", ["README.md", "switchboard/__init__.py"])
def test_a_document_lists_every_name(document: str):
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    table = text[text.index("| `publish`, ") :].split("\n\n")[0]
    listed = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}

    assert listed == set(switchboard.__all__)


WRONG = {
    "no kind": ["abc"],
    "an unknown kind": ["typo:abc"],
    "no messages there": ["session:x"],
    "no name": ["token:"],
    "too many": [f"token:a{number}" for number in range(settings.MAX_RECEIVERS + 1)],
}


@pytest.mark.parametrize("addresses", WRONG.values(), ids=WRONG)
async def test_the_public_publish_checks_addresses_as_rest_does(addresses: list[str]) -> None:
    with pytest.raises(switchboard.AddressError):
        await switchboard.publish(addresses, "x")


async def test_one_string_is_not_taken_for_several_addresses() -> None:
    with pytest.raises(TypeError, match="expected several addresses"):
        await switchboard.publish("token:abc1", "x")


@pytest.mark.parametrize(("kind", "name"), [("typo", "abc"), ("room", "nowhere/x")])
def test_a_public_address_is_checked_by_its_kind(kind: str, name: str) -> None:
    assert switchboard.make_address("token", "abc1") == "token:abc1"
    with pytest.raises(switchboard.AddressError):
        switchboard.make_address(kind, name)
