"""`make bench`: measures the sections of `bench/rows/`, prints their tables, keeps them in `bench/.results/`.

python bench/run.py [--quick] [--only fanout,idle] [--rows serve] [--rounds 3] [--docs] [--list]
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# Importing the server's settings must not make a secret in var/.
os.environ.setdefault("SECRET_KEY", "of the benchmark, never served")

from bench import report
from bench.bench import Bench
from bench.load import load_program
from bench.machine import LOAD_CORE, describe, on_core
from bench.rounds import measure
from bench.rows import sections
from bench.section import Section, Unavailable
from tests.services.programs import BENCH, ensure


def main() -> int:
    """Measure what was asked for; 0 when it was measured, whatever came out."""
    known = {section.name: section for section in sections()}
    options = _options(list(known))
    if options.list:
        for section in known.values():
            print(f"{section.name:10} {section.title}")
        return 0
    ensure(BENCH)
    try:
        load_program()
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 2
    _allow_many_files()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end_in_order)
    print(describe(), flush=True)
    with on_core(LOAD_CORE), Bench(options.quick) as bench:
        for name in options.only or known:
            _run(known[name], bench, options)
    return 0


def _run(section: Section, bench: Bench, options: argparse.Namespace) -> None:
    rows = [row for row in section.rows if options.rows in row.label and (row.quick or not bench.quick)]
    rounds = options.rounds or (1 if bench.quick else 3)
    outcome = measure(replace(section, rows=rows), bench, rounds, options.wait)
    report.save(section, outcome)
    print("\n" + report.markdown(section, outcome), flush=True)
    if options.docs and not report.write_document(section, outcome):
        print(f"docs/performance.md has no place for {section.name}", file=sys.stderr)


def _options(known: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=", description="Measure speed and memory.")
    parser.add_argument("--quick", action="store_true", help="one round, short phases, fewer rows")
    parser.add_argument("--only", type=_names(known), metavar="NAMES", help=f"of {', '.join(known)}")
    parser.add_argument("--rows", default="", metavar="TEXT", help="only rows whose label contains TEXT")
    parser.add_argument("--rounds", type=int, help="how often every row is measured (3)")
    parser.add_argument("--wait", type=float, default=10, metavar="SECONDS", help="for a quiet machine (10)")
    parser.add_argument("--docs", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--list", action="store_true", help="list the sections")
    return parser.parse_args()


def _names(known: list[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        """Section names, comma between them."""
        chosen = text.split(",")
        if unknown := set(chosen).difference(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
        return chosen

    return names


def _end_in_order(number: int, frame: FrameType | None) -> None:
    """On SIGTERM and SIGHUP, leave every context: what was started ends."""
    sys.exit(128 + number)


def _allow_many_files() -> None:
    """Servers inherit it: thousands of sockets need it."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
