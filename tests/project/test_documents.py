"""The documents say what the code says, and name only files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

from broker_project.management.commands import codes, metrics, options
from scripts.pages import documents

ROOT = Path(settings.BASE_DIR)
DOCUMENTS = [ROOT / page for page in documents()]

SUFFIXES = ("py", "js", "c", "md")
ELSEWHERE = {"socket.io.js", "dist/switchboard.js", "CONTRIBUTING.md", "CHANGELOG.md", "listen.py"}
"""Files of a client, of a build, at the root, and one that a reader writes."""
READERS = ("mysite/", "shop/")
"""Folders of a project of the reader's own."""

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("document", "name", "table"),
    [
        ("README.md", "options", options.table),
        ("docs/codes.md", "codes", codes.tables),
        ("docs/metrics.md", "metrics", metrics.tables),
    ],
    ids=["options", "codes", "metrics"],
)
def test_a_table_is_the_one_that_its_command_prints(document, name, table) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    _, _, rest = text.partition(f"<!-- {name} -->\n")
    held, marker, _ = rest.partition(f"\n<!-- /{name} -->")
    assert marker, f"{document} has lost its markers"
    assert held == table(), f"run: manage.py {name}, and paste its tables into {document}"


def test_every_setting_has_a_description() -> None:
    assert all(option.help.endswith(".") for option in settings.SWITCHBOARD_ENVIRONMENT.options)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_file_that_a_document_names_exists(document: Path) -> None:
    links = [
        part.partition(")")[0].partition("#")[0]
        for part in document.read_text(encoding="utf-8").split("](")[1:]
    ]
    files = [link for link in links if link and not link.startswith("http")]

    assert [file for file in files if not (document.parent / file).exists()] == []


def source_files() -> set[str]:
    """Every Python, JavaScript and C file of the tree, and every document, as `/path/from/the/root`."""
    places = [pattern.format(suffix) for suffix in SUFFIXES for pattern in ("*.{}", "[!.]*/**/*.{}")]
    found = {f"/{file.relative_to(ROOT)}" for place in places for file in ROOT.glob(place)}
    return {file for file in found if not re.search(r"/(\.venv|node_modules)/", file)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_source_file_that_a_document_names_exists(document: Path) -> None:
    if document.name == "CHANGELOG.md":  # it tells of files that are gone
        return
    text = document.read_text(encoding="utf-8")
    named = re.findall(rf"`([\w./]+\.(?:{'|'.join(SUFFIXES)}))`", text)
    known = source_files()

    here = [name for name in named if name not in ELSEWHERE and not name.startswith(READERS)]
    assert [name for name in here if not _ends(known, name)] == []


OWN_APP = {"__init__.py", "apps.py"}
"""Files of any app."""


@pytest.mark.parametrize("page", [file for file in DOCUMENTS if (file.parent / "protocol.py").exists()])
def test_each_file_of_a_protocol_is_in_the_table_of_its_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    files = {file.name for file in page.parent.glob("*.py")} - OWN_APP
    assert [name for name in sorted(files) if f"`{name}`" not in text] == []


def test_each_folder_of_the_core_is_in_the_table_of_its_page() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")

    folders = {file.parent.name for file in (ROOT / "routing_app/core").glob("*/__init__.py")}
    assert [name for name in sorted(folders - {"management", "migrations"}) if f"`{name}/`" not in text] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_subject_of_a_sentence_comes_first(document: Path) -> None:
    """docs/style.md; questions and headings may begin so."""
    text = re.sub(r"(?ms)^```.*?^```$", "", document.read_text(encoding="utf-8"))
    sentences = re.findall(
        r"(?:^(?:[-*|] )?|[.:;] )((?:What|Who|Whoever)\s[^.?|\n]*[.?|\n])", text, re.MULTILINE
    )

    assert [sentence for sentence in sentences if not sentence.endswith("?")] == []


def _ends(files: set[str], name: str) -> bool:
    return any(file.endswith(f"/{name}") for file in files)
