"""Coverage-guided fuzzing, ten minutes for each target: `make soak`; `FUZZ_SECONDS=60` shortens it.

What reaches new code is kept in `.cache/fuzz/`, where the next run begins (`fuzz.py`). docs/faults.md
shows the commands.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import fuzz
from tests.fuzz.targets import TARGETS
from tests.services.databases import REPOSITORY
from tests.services.wheels import NotAvailable, install

SECONDS = int(os.environ.get("FUZZ_SECONDS", "600"))
FEWEST = 1000
"""Inputs that a run of ten minutes has tried at least, on a slow machine as well."""

pytestmark = [pytest.mark.once, pytest.mark.soak, pytest.mark.timeout(SECONDS + 900)]
logger = logging.getLogger("measured")


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_promise(name: str, tmp_path: Path) -> None:
    try:
        install(fuzz.REQUIREMENT)
    except NotAvailable as error:
        pytest.skip(f"ATHERIS DID NOT RUN: {error}")
    command = [sys.executable, "-m", "tests.fuzz.fuzz", name, "--seconds", str(SECONDS)]
    log = tmp_path / "log"
    with log.open("wb") as output:
        run = subprocess.run(command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT, check=False)
    said = log.read_text(errors="replace")
    assert run.returncode == 0, said[-4000:]
    tried = re.search(r"number_of_executed_units: (\d+)", said)
    assert tried is not None
    logger.info("%s: %s inputs; %s", name, tried[1], re.findall(r"DONE +(cov: \d+ ft: \d+ corp: \S+)", said))
    assert int(tried[1]) >= FEWEST
