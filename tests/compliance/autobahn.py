"""Autobahn's fuzzing client: installed for Python 2.7 on first use, run, and its verdicts read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.services.databases import REPOSITORY

REQUIREMENT: Final = "autobahntestsuite==0.8.2"
CACHE: Final = REPOSITORY / ".cache" / REQUIREMENT
LEFT_OUT: Final = ["9.*"]
"""Performance."""
COMPRESSION: Final = ["12.*", "13.*"]
"""Cases of messages that are compressed; each sends 1,000 of them."""
_RUN: Final = """
import site, sys
site.addsitedir(sys.argv.pop(1))
from autobahntestsuite.wstest import run
run()
"""


PASSED: Final = {"OK", "INFORMATIONAL", "NON-STRICT"}
RUNS: Final = 3


class NotAvailable(Exception):
    """The fuzzing client cannot be had on this machine; the message names what is missing."""


@dataclass(frozen=True)
class Verdict:
    """The fuzzing client's verdict on one case: of the messages, and of the close."""

    behavior: str
    close: str

    @property
    def is_failed(self) -> bool:
        """True where a message or the close was wrong, or came too late: the client waits for a second."""
        return not {self.behavior, self.close} <= PASSED


def prepare() -> Path:
    """The Python 2.7 that can run the suite, which is in CACHE afterwards. Raises NotAvailable."""
    python = _python27()
    if not CACHE.exists():
        _install(python)
    return python


def last_verdicts(
    python: Path, url: str, folder: Path, cases: Sequence[str], left_out: Sequence[str], seconds: float
) -> dict[str, Verdict]:
    """As `fuzz`, but cases that failed run again, RUNS times in all, and the last verdict of each counts."""
    found = fuzz(python, url, folder, cases, left_out, seconds)
    for _ in range(RUNS - 1):
        failed = [case for case, verdict in found.items() if verdict.is_failed]
        if failed:
            found |= fuzz(python, url, folder, failed, (), seconds)
    return found


def fuzz(
    python: Path,
    url: str,
    folder: Path,
    cases: Sequence[str],
    left_out: Sequence[str] = (),
    seconds: float = 300,
) -> dict[str, Verdict]:
    """Run cases, but for those left out, against `url`; verdicts by case.

    Raises CalledProcessError, and TimeoutExpired after so many seconds.
    """
    specification = {
        "outdir": str(folder),
        "servers": [{"agent": "switchboard", "url": url}],
        "cases": list(cases),
        "exclude-cases": list(left_out),
        "exclude-agent-cases": {},
    }
    file = folder / "specification.json"
    file.write_text(json.dumps(specification))
    subprocess.run(
        [python, "-c", _RUN, CACHE, "-m", "fuzzingclient", "-s", file],
        check=True,
        capture_output=True,
        cwd=folder,
        timeout=seconds,
    )
    found = json.loads((folder / "index.json").read_text())["switchboard"]
    return {case: Verdict(result["behavior"], result["behaviorClose"]) for case, result in found.items()}


def _python27() -> Path:
    pyenv = Path.home() / ".pyenv" / "versions"
    candidates = [shutil.which("python2.7") or "", *map(str, sorted(pyenv.glob("2.7*/bin/python2.7")))]
    for candidate in filter(None, candidates):
        if (
            subprocess.run([candidate, "-m", "pip", "--version"], capture_output=True, check=False).returncode
            == 0
        ):
            return Path(candidate)
    raise NotAvailable("Python 2.7 with pip is not installed, and the suite runs on nothing newer")


def _install(python: Path) -> None:
    """Install into a folder beside the cache and move it there whole: two test runs may do this at once."""
    CACHE.parent.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=CACHE.parent))
    command = [str(python), "-m", "pip", "install", "--quiet", "--target", str(folder), REQUIREMENT]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    if result.returncode != 0:
        shutil.rmtree(folder)
        sys.stderr.write(result.stderr)
        raise NotAvailable(f"pip for Python 2.7 could not install {REQUIREMENT}")
    try:
        os.rename(folder, CACHE)  # noqa: PTH104 - fails when the other run was first, as Path.replace may not
    except OSError:
        shutil.rmtree(folder)
