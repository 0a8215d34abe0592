"""The documents as a site: it is built strictly and without a network, and nothing in it points nowhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once

LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href"}
"""Attributes by which a browser loads something by itself."""


class Links(HTMLParser):
    """What a page loads and links to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.ids: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.ids.add(named.get("id", ""))
        if tag == "a":
            self.linked.append(named.get("href", ""))
        elif tag in LOADED:
            self.loaded.append(named.get(LOADED[tag], ""))


def without_network() -> list[str]:
    """A command before a command that takes its network away, where this user may do that."""
    unshare = shutil.which("unshare")
    if (
        unshare
        and subprocess.run([unshare, "--net", "true"], check=False, capture_output=True).returncode == 0
    ):
        return [unshare, "--net"]
    return []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1", "VAR_DIR": str(folder / "var")}
    done = subprocess.run(
        [
            *without_network(),
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "--site-dir",
            folder / "site",
        ],
        cwd=REPOSITORY,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    return {page: Links(page) for page in site.rglob("*.html") if page.name != "404.html"}


def _elsewhere(url: str) -> bool:
    return re.match(r"([a-z]+:)?//", url) is not None


def test_no_page_loads_anything_of_another_host(pages: dict[Path, Links]) -> None:
    loaded = [url for links in pages.values() for url in links.loaded]

    assert len(loaded) > 5 * len(pages)
    assert not [url for url in loaded if _elsewhere(url)]


def test_every_link_leads_to_a_page_or_a_file_of_the_site(site: Path, pages: dict[Path, Links]) -> None:
    assert pages
    broken = []
    for page, links in pages.items():
        for url in [url for url in links.linked + links.loaded if not re.match(r"[a-z]+:|//", url)]:
            path, _, anchor = url.partition("#")
            target = (page.parent / path).resolve() if path else page
            target = target / "index.html" if target.is_dir() else target
            known = pages.get(target)
            if not target.is_file() or (anchor and known and anchor not in known.ids):
                broken.append(f"{page.relative_to(site)}: {url}")

    assert broken == []


def test_every_document_is_a_page(site: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    documents = tracked.stdout.split() or ["README.md"]  # an archive has no git

    missing = [
        document
        for document in documents
        if not (site / re.sub(r"(README)?\.md$", "", document) / "index.html").exists()
    ]
    assert missing == []


def test_source_files_come_along(site: Path) -> None:
    held = (site / "deploy/nginx.conf").read_bytes()

    assert held == (REPOSITORY / "deploy/nginx.conf").read_bytes()


@pytest.mark.parametrize(
    ("page", "texts"),
    [
        ("settings", ["ROOMS_RECOVERY_SECONDS", "How long a Socket.IO 4.6+ client may be away"]),
        ("commands", ["createapikey", "gentoken", "doctor", "--json", "export", "--with-hashes", "serve"]),
        ("rest", ["POST /api/publish", "GET /api/workers/", "POST /sessions", "/bus-message/"]),
    ],
)
def test_a_page_of_reference_is_made_from_the_code(site: Path, page: str, texts: list[str]) -> None:
    made = (site / "reference" / page / "index.html").read_text(encoding="utf-8")

    assert [text for text in texts if text not in made] == []
