"""Every block of every page is run as it is printed, or a table names the test that does it, or says why not.

`reader.py` says how blocks are run, `pages.py` has the tables.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

import switchboard
from tests.documents.blocks import ALL, Block
from tests.documents.conftest import LISTS, rows
from tests.documents.pages import BEFORE, BEFORE_IT_IS_RUN, ELSEWHERE, GIVEN, NOT_RUN, PARTS, Part
from tests.documents.reader import LEFT_OUT, Reader
from tests.services.databases import REPOSITORY
from tests.services.server import Server
from tests.services.waiting import wait_until

pytestmark = pytest.mark.once

TABLES: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "PARTS": PARTS,
    "ELSEWHERE": ELSEWHERE,
    "NOT_RUN": NOT_RUN,
}


def is_run(block: Block) -> bool:
    """Whether it is run here."""
    about = [*ELSEWHERE.get(block.page, ()), *NOT_RUN.get(block.page, ())]
    return not block.title.startswith(BEFORE) and not any(map(block.holds, about))


def part_of(block: Block) -> Part:
    """What it needs around it."""
    return next((part for words, part in PARTS.get(block.page, {}).items() if block.holds(words)), Part())


PROGRAMS = {"js", "python"}
PROMISES = {"text", "json"}
RUN = {page: shown for page in ALL if (shown := [block for block in ALL[page] if is_run(block)])}


@pytest.fixture
async def reader(
    reading: Server, operator: httpx.Client, token: str, tmp_path: Path
) -> AsyncIterator[Reader]:
    """Somebody for whom nothing is left of what others have read."""
    one = Reader(reading, tmp_path, token)
    yield one
    one.close()
    clear(operator)


def clear(operator: httpx.Client) -> None:
    """Delete what was made, and wait until clients have gone."""
    for name in LISTS:
        for row in rows(operator, name):
            operator.delete(f"/api/{name}/{row['id']}/", follow_redirects=True).raise_for_status()
    wait_until(lambda: rows(operator, "clients") == [])


@pytest.mark.parametrize("page", RUN)
async def test_a_page_does_what_it_says(page: str, reader: Reader) -> None:
    for step in GIVEN.get(page, ()):
        await reader.do(*step)
    for block in RUN[page]:
        part = part_of(block)
        await reader.run(block, part.before, part.after)
        for step in part.then:
            await reader.do(*step)
    assert reader.failed() == []


@pytest.mark.parametrize("page", RUN)
def test_each_program_has_something_to_print(page: str) -> None:
    """One that prints nothing may fail later than anybody looks."""
    languages = []
    for block in RUN[page]:
        languages += ["file" if block.is_file else block.language, *(step[0] for step in part_of(block).then)]

    waiting = False
    for language in languages:
        assert not (waiting and language in PROGRAMS), languages
        waiting = language in PROGRAMS or (waiting and language not in PROMISES)
    assert not waiting, languages


OF_APPS = [block for shown in ALL.values() for block in shown if block.title.startswith(BEFORE_IT_IS_RUN)]


@pytest.mark.parametrize("block", OF_APPS, ids=lambda block: block.page)
def test_code_of_an_app_that_is_not_installed_here_registers_a_function(
    block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page does not repeat the imports; the page that it links to has them."""
    registered: dict[Any, Any] = {}
    monkeypatch.setattr("routing_app.events.walkers.WALKERS", registered)
    monkeypatch.setattr("routing_app.requests.handlers.HANDLERS", registered)
    exec(
        compile(block.text, block.place, "exec"),
        {name: getattr(switchboard, name) for name in switchboard.__all__},
    )

    assert len(registered) == 1


def test_no_block_is_indented_or_without_a_language() -> None:
    assert [block.place for shown in ALL.values() for block in shown if not block.language] == []


@pytest.mark.parametrize("name", TABLES)
def test_each_row_of_a_table_is_about_a_block(name: str) -> None:
    table = TABLES[name]

    assert table.keys() <= ALL.keys()
    wrong = [
        (page, words)
        for page, found in table.items()
        for words in found
        if not any(block.holds(words) for block in ALL[page])
    ]
    assert wrong == []


def test_no_block_is_in_two_tables() -> None:
    named = [
        (block.place, words)
        for table in TABLES.values()
        for page, found in table.items()
        for block in ALL[page]
        for words in found
        if block.holds(words)
    ]

    assert len({place for place, _ in named}) == len(named)


@pytest.mark.parametrize(
    ("page", "test"),
    [(page, test) for page, found in ELSEWHERE.items() for test in dict.fromkeys(found.values())],
)
def test_the_test_that_a_table_names_is_about_the_page(page: str, test: str) -> None:
    path, _, name = test.partition("::")
    file = REPOSITORY / path

    assert re.search(rf"^(async )?def {name}\(", file.read_text(encoding="utf-8"), re.MULTILINE)
    beside = "".join(module.read_text(encoding="utf-8") for module in file.parent.glob("*.py"))
    assert Path(page).name in beside


def test_each_reason_to_leave_a_line_out_is_about_a_line() -> None:
    commands = "".join(block.text for shown in RUN.values() for block in shown if block.language == "sh")

    assert [words for words in LEFT_OUT if words not in commands] == []


def test_each_page_that_is_given_something_is_run() -> None:
    assert GIVEN.keys() | PARTS.keys() <= RUN.keys()
