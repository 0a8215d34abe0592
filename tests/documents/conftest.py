"""One server for all pages: with the examples, and with the code that pages have a reader put into an app."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.documents.blocks import ALL
from tests.jwt.signing import SECRET, access_claims, signed
from tests.services.databases import Databases
from tests.services.running import running
from tests.services.server import Server

CODE: Final = {
    "routing_app/events/README.md": "walkers.py",
    "routing_app/requests/README.md": "requests.py",
}
"""The file of an app that a page shows."""
ISSUER: Final = "documents"
LISTS: Final = ("limits", "revocations", "rules", "webhooks")
"""What pages make, and what others do not expect."""


def _write_app(folder: Path) -> None:
    app = folder / "documented"
    app.mkdir()
    (app / "__init__.py").touch()
    for page, name in CODE.items():
        [text] = [block.text for block in ALL[page] if block.title == name]
        (app / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="package")
def reading(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of all pages."""
    folder = tmp_path_factory.mktemp("pages")
    _write_app(folder)
    options = {
        "EXTRA_APPS": "examples.pusher,examples.chat,documented",
        "PYTHONPATH": str(folder),
        "REDIS_URL": "",
        "WEBHOOKS_PRIVATE": "yes",
    }
    with running(databases, folder, **options) as server:
        yield server


@pytest.fixture(scope="package")
def operator(reading: Server) -> Iterator[httpx.Client]:
    """Calls of its REST API."""
    with httpx.Client(base_url=reading.url, headers={"X-API-Key": reading.api_key}, timeout=60) as client:
        yield client


@pytest.fixture(scope="package")
def token(operator: httpx.Client) -> str:
    """An access token of `documents/anna` for everything."""
    key = {"algorithm": "HS256", "secret": SECRET}
    assert operator.post("/api/issuers/", json={"name": ISSUER, "keys": [key]}).status_code == 201
    return signed(access_claims(iss=ISSUER, sub="anna", subscribe=["*"], publish=["*"]))


def rows(operator: httpx.Client, name: str) -> list[dict[str, Any]]:
    """The rows of a list."""
    found: list[dict[str, Any]] = operator.get(f"/api/{name}/").json()["results"]
    return found
