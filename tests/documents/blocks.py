"""The blocks of code of every page of the site."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from markdown_it import MarkdownIt

from scripts.pages import documents
from tests.services.databases import REPOSITORY

TITLE: Final = re.compile(r'(\S*)(?: title="([^"]*)")?')
"""Of a fence: its language, and what the page shows above it."""
PARSER: Final = MarkdownIt("commonmark").disable(
    ["inline", "text_join"]
)  # what lies within lines does not count
FILE: Final = re.compile(r"[\w-]+\.\w+")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code as a page shows it."""

    page: str
    line: int
    section: str
    """The heading that it stands below."""
    language: str
    title: str
    text: str

    @property
    def is_file(self) -> bool:
        """Whether it is the text of a file, whose name is its title."""
        return FILE.fullmatch(self.title) is not None

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.page}:{self.line}"

    def holds(self, words: str) -> bool:
        """Whether a row of a table is about it: `## Heading`, `*` for all of a page, or some of its text."""
        return words in {"*", f"## {self.section}"} or words in self.text


def blocks(page: str) -> list[Block]:
    """Those of a page, in order; `page` is its path in the repository. An indented one has no language."""
    found: list[Block] = []
    section = ""
    tokens = PARSER.parse((REPOSITORY / page).read_text(encoding="utf-8"))
    for token, following in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        if token.type == "heading_open":
            section = following.content
        elif token.type in ("fence", "code_block"):
            info = TITLE.fullmatch(token.info.strip())
            assert info, f"{page}: ```{token.info}"
            assert token.map
            found.append(Block(page, token.map[0] + 1, section, info[1], info[2] or "", token.content))
    return found


ALL: Final = {page: shown for page in documents() if (shown := blocks(page))}
"""By page; pages without a block are left out."""
