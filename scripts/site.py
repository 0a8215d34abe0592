"""What MkDocs runs to make the site: the documents stand in it as they stand in the tree.

A page has the path of its file in the repository, so a link that works on the forge works on the site.
A linked file that is not a page (a source file, a configuration) is copied beside the pages.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from scripts import reference
from scripts.pages import ROOT, documents

LINK: Final = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
PICTURE: Final = re.compile(r"!\[[^\]]*\]\(([^()\s]+)\)")
FENCE: Final = re.compile(r" *(```|~~~)")
ITEM: Final = re.compile(r"(-|\*|\d+\.) +")
INDENT: Final = 4
"""Columns that Python's Markdown wants before what belongs to an item of a list."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files of `docs/` by the whole set, each under its path in the repository."""
    made = Files([file for file in files if file.src_uri not in _below_docs()])
    pages = documents()
    for path in pages:
        made.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for path in sorted({file for page in pages for file in _linked_files(page)}):
        made.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for path, page in reference.PAGES.items():
        made.append(File.generated(config, path, content=page()))
    return made


def _below_docs() -> set[str]:
    docs = ROOT / "docs"
    return {str(file.relative_to(docs)) for file in docs.rglob("*")}


def _linked_files(page: str) -> Iterator[str]:
    """The files that a page links to or shows and that are not pages."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in [match[1] for match in LINK.findall(text)] + PICTURE.findall(text):
        path = _inside(page, target)
        if path is not None and not path.endswith(".md") and (ROOT / path).is_file():
            yield path


def _inside(page: str, target: str) -> str | None:
    """The path in the repository that a link means; None where it leads out of it or stays on the page."""
    path = target.partition("#")[0]
    if not path or re.match(r"[a-z]+:|/", path):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text of a page in the dialect of Python's Markdown."""

    def link(match: re.Match[str]) -> str:
        path = _inside(page.file.src_uri, match[2])
        if path is None or not (ROOT / path).is_dir():
            return match[0]
        if (ROOT / path / "README.md").exists():
            return f"[{match[1]}]({match[2].rstrip('/')}/README.md)"
        return match[1]

    return "\n".join(_lines(LINK.sub(link, markdown)))


def _lines(markdown: str) -> Iterator[str]:
    """The lines with items of lists indented by four columns, and lists apart from paragraphs before them."""
    width = 0
    fenced = loose = False
    before = ""
    for line in markdown.split("\n"):
        item = None if fenced else ITEM.match(line)
        if item:
            if before.strip() and (loose or not width):
                yield ""
            width = item.end()
        elif not fenced and not before.strip() and line[:1] not in {"", " "}:
            width, loose = 0, False
        loose = loose or bool(width and not line.strip())
        fenced ^= FENCE.match(line) is not None
        before = line
        if width and line.startswith(" " * width):
            yield " " * (INDENT - width) + line
        else:
            yield _row(line) if not fenced and line.startswith("|") else line


def _row(line: str) -> str:
    """A row of a table: in code, a bar needs no backslash."""
    return re.sub(r"`[^`]*`", lambda code: code[0].replace("\\|", "|"), line)
