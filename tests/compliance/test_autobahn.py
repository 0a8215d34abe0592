"""RFC 6455 as Autobahn reads it: a plain echo application under our server fails no case."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.compliance import autobahn
from tests.server.plain import Plain
from tests.services.ports import LOOPBACK

CASES = 247
NON_STRICT = {"6.4.3", "6.4.4"}
"""Explained one by one in README.md."""
LARGEST = "20000000"


@pytest.mark.once
@pytest.mark.timeout(360)
async def test_no_case_fails(tmp_path: Path) -> None:
    try:
        python = await asyncio.to_thread(autobahn.prepare)
    except autobahn.NotAvailable as error:
        pytest.skip(f"AUTOBAHN DID NOT RUN: {error}")
    server = Plain(tmp_path, "--websocket-max-message-size", LARGEST, "--websocket-max-frame-size", LARGEST)
    try:
        url = f"ws://{LOOPBACK}:{server.port}/echo"
        verdicts = await asyncio.to_thread(autobahn.fuzz, python, url, tmp_path)
    finally:
        server.process.kill_session()
    assert len(verdicts) == CASES
    good = {"OK", "INFORMATIONAL"}
    assert {case for case, verdict in verdicts.items() if verdict.behavior not in good} <= NON_STRICT
    allowed = good | {"NON-STRICT"}
    assert {case: verdict for case, verdict in verdicts.items() if verdict.behavior not in allowed} == {}
    assert {case: verdict for case, verdict in verdicts.items() if verdict.close not in good} == {}
