"""Close codes: unique, in the range that their advice names, and legal wherever they are sent."""

from __future__ import annotations

import ast
from enum import StrEnum
from pathlib import Path

import pytest
from django.core.management import call_command
from websockets.frames import Close as CloseFrame

from routing_app.core import codes
from routing_app.core.codes import BY_CODE, CLOSES, Advice, Close, Loss, Refusal

pytestmark = pytest.mark.once

RANGES = {Advice.STAY_AWAY: range(4000, 4100), Advice.LATER: range(4100, 4200), Advice.NOW: range(4200, 4300)}
TOKENS_OWN = codes.TOKEN_UNREGISTERED
"""4403 is the code that the tokens protocol has always sent."""


def test_codes_and_names_are_unique_also_among_the_portable_ones():
    sent = [close.code for close in CLOSES] + [close.portable for close in CLOSES if close.portable]

    assert len(sent) == len(set(sent))
    assert len({close.name for close in CLOSES}) == len(CLOSES)
    assert len(BY_CODE) == len(CLOSES)


def test_every_close_of_the_module_is_listed():
    assert {value for value in vars(codes).values() if isinstance(value, Close)} == set(CLOSES)


def test_every_close_is_used_somewhere():
    names = {name for name, value in vars(codes).items() if isinstance(value, Close)}
    assert names - _imported() == set()


def _imported() -> set[str]:
    """Names that the product imports from the module of codes."""
    imports = [
        node for node in _nodes() if isinstance(node, ast.ImportFrom) and node.module == codes.__name__
    ]
    return {alias.name for node in imports for alias in node.names}


@pytest.mark.parametrize("reasons", [Loss, Refusal], ids=lambda reasons: reasons.__name__)
def test_every_reason_that_is_listed_is_counted_somewhere(reasons: type[StrEnum]):
    used = {
        node.attr
        for node in _nodes()
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == reasons.__name__
    }
    assert {reason.name for reason in reasons} - used == set()


def _nodes() -> list[ast.AST]:
    """Syntax trees of the product's modules, flat."""
    files = [
        file for app in ("routing_app", "sessions_app", "broker_project") for file in Path(app).rglob("*.py")
    ]
    return [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]


def test_a_refusal_before_the_accept_is_listed_by_its_status(capsys: pytest.CaptureFixture[str]):
    call_command("codes")
    rows = capsys.readouterr().out.splitlines()
    for close in CLOSES:
        shown = [row.split("|")[1].strip() for row in rows if f"| `{close.name}` |" in row]
        assert shown == [str(close.status if close.before_accept else close.code)]


@pytest.mark.parametrize(
    "close", [close for close in CLOSES if close is not TOKENS_OWN], ids=lambda c: c.name
)
def test_codes_of_ours_are_in_the_range_of_their_advice(close: Close):
    ours = [code for code in (close.code, close.portable) if code >= 4000]

    assert all(code in RANGES[close.advice] for code in ours)


@pytest.mark.parametrize("close", CLOSES, ids=lambda close: close.name)
def test_portable_codes_are_those_that_a_stock_daphne_may_send(close: Close):
    """autobahn's sendClose, which Daphne calls, takes 1000 and 3000 to 4999."""
    assert close.portable_code == 1000 or 3000 <= close.portable_code <= 4999


@pytest.mark.parametrize("close", CLOSES, ids=lambda close: close.name)
def test_codes_and_reasons_are_legal_on_the_wire(close: Close):
    CloseFrame(close.code, close.reason).check()
    assert len(close.reason.encode()) <= 123
