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
import sys
from collections.abc import Sequence
from typing import Any, Final

from tests.services.wheels import CACHE, install

REQUIREMENT: Final = "atheris==3.0.0"
INSTRUMENTED: Final = ("routing_app", "sessions_app", "switchboard_server", "yaml", "redis.connection")
LONGEST_KEPT: Final = 300
"""Bytes of an input that may be added to the repository."""
SECONDS_EACH: Final = 10
"""Longest time of one input: a guard against a loop, on a slow machine as well."""
MEGABYTES: Final = 1024


def main(arguments: Sequence[str]) -> None:
    """Fuzz, or keep what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--keep", action="store_true", help="add new inputs to the repository")
    options = parser.parse_args(arguments)
    sys.path.insert(0, str(install(REQUIREMENT)))
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
