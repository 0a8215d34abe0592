"""RFC 6455 as Autobahn reads it: a plain echo application under our server fails no case."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.compliance import autobahn
from tests.compliance.autobahn import Verdict
from tests.server.plain import Plain
from tests.services.ports import LOOPBACK

CASES = 247
COMPRESSED = ["12.1.4", "12.1.11", "13.2.4", "13.5.2"]
"""Whole and fragmented messages, and two that bound the window; each case takes some seconds."""
COMPRESSED_CASES = 216
SOAK_SECONDS = 3600
NON_STRICT = {"6.4.3", "6.4.4"}
"""Explained one by one in README.md."""
LARGEST = "20000000"


GOOD = {"OK", "INFORMATIONAL"}


async def verdicts(
    folder: Path, cases: Sequence[str], left_out: Sequence[str] = (), *arguments: str, seconds: float = 1000
) -> dict[str, Verdict]:
    """The suite's verdicts on an echo application under our server with these arguments."""
    try:
        python = await asyncio.to_thread(autobahn.prepare)
    except autobahn.NotAvailable as error:
        pytest.skip(f"AUTOBAHN DID NOT RUN: {error}")
    sizes = ["--websocket-max-message-size", LARGEST, "--websocket-max-frame-size", LARGEST]
    server = Plain(folder, *sizes, *arguments)
    try:
        url = f"ws://{LOOPBACK}:{server.port}/echo"
        return await asyncio.to_thread(autobahn.last_verdicts, python, url, folder, cases, left_out, seconds)
    finally:
        server.process.kill_session()


@pytest.mark.once
@pytest.mark.timeout(1200)
async def test_no_case_fails(tmp_path: Path) -> None:
    found = await verdicts(tmp_path, ["*"], autobahn.LEFT_OUT + autobahn.COMPRESSION)

    assert len(found) == CASES
    assert {case for case, verdict in found.items() if verdict.behavior not in GOOD} <= NON_STRICT
    allowed = GOOD | {"NON-STRICT"}
    assert {case: verdict for case, verdict in found.items() if verdict.behavior not in allowed} == {}
    assert {case: verdict for case, verdict in found.items() if verdict.close not in GOOD} == {}


@pytest.mark.once
@pytest.mark.timeout(1200)
async def test_no_case_with_compression_fails(tmp_path: Path) -> None:
    found = await verdicts(tmp_path, COMPRESSED, (), "--compression")

    assert set(found) == set(COMPRESSED)
    assert {case: verdict for case, verdict in found.items() if verdict != Verdict("OK", "OK")} == {}


@pytest.mark.once
@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS + 60)
async def test_none_of_all_cases_with_compression_fails(tmp_path: Path) -> None:
    found = await verdicts(tmp_path, autobahn.COMPRESSION, (), "--compression", seconds=SOAK_SECONDS)

    assert len(found) == COMPRESSED_CASES
    assert {case: verdict for case, verdict in found.items() if verdict != Verdict("OK", "OK")} == {}
