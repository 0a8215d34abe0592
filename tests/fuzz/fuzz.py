"""Fuzz one target for some time: `python -m tests.fuzz.fuzz tokens --seconds 600`.

Atheris (libFuzzer for Python) rewrites the bytecode of what it imports, so that it sees which branches an
input takes. It is not among our requirements, since it has wheels for few systems; it is installed into
`.cache/` on first use. Inputs that reach new code are kept in `.cache/fuzz/<target>/` and are where the next
run begins; `--keep` adds the smallest of them that reach the same to `tests/fuzz/corpus/<target>/`. An input
that fails is written to `.cache/fuzz/failed/`, and the exit code is not 0.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.services.databases import REPOSITORY

REQUIREMENT: Final = "atheris==3.0.0"
CACHE: Final = REPOSITORY / ".cache"
INSTALLED: Final = CACHE / REQUIREMENT
INSTRUMENTED: Final = ("routing_app", "sessions_app", "switchboard_server", "yaml", "redis.connection")
LONGEST_KEPT: Final = 300
"""Bytes of an input that may be added to the repository."""
SECONDS_EACH: Final = 10
"""Longest time of one input: a guard against a loop, on a slow machine as well."""
MEGABYTES: Final = 1024


class NotAvailable(Exception):
    """The fuzzer cannot be had on this machine."""


def install() -> None:
    """See to it that the fuzzer is in `.cache/`. Raises NotAvailable."""
    if INSTALLED.exists():
        return
    CACHE.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=CACHE))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command = [*pip, "--target", str(folder), REQUIREMENT]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    if result.returncode != 0:
        shutil.rmtree(folder)
        raise NotAvailable(f"pip could not install {REQUIREMENT}: {result.stderr.strip()[-200:]}")
    try:
        os.rename(folder, INSTALLED)  # noqa: PTH104 - fails when another run was first, as Path.replace may not
    except OSError:
        shutil.rmtree(folder)


def main(arguments: Sequence[str]) -> None:
    """Fuzz, or keep what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--keep", action="store_true", help="add new inputs to the repository")
    options = parser.parse_args(arguments)
    install()
    sys.path.insert(0, str(INSTALLED))
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=list(INSTRUMENTED), enable_loader_override=False):
        import django

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "broker_project.settings")
        django.setup()
        targets = importlib.import_module("tests.fuzz.targets")
    found, kept = CACHE / "fuzz" / options.target, targets.CORPUS / options.target
    failed = CACHE / "fuzz" / "failed"
    for folder in (found, kept, failed):
        folder.mkdir(parents=True, exist_ok=True)
    flags = [f"-timeout={SECONDS_EACH}", f"-rss_limit_mb={MEGABYTES}", "-print_final_stats=1"]
    flags.append(f"-artifact_prefix={failed}/{options.target}-")
    if options.keep:
        flags += ["-merge=1", f"-max_len={LONGEST_KEPT}", str(kept), str(found)]
    else:
        flags += [f"-max_total_time={options.seconds}", f"-max_len={targets.LONGEST}", str(found), str(kept)]
    atheris.Setup([sys.argv[0], *flags], targets.TARGETS[options.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
