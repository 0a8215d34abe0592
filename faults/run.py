"""`make faults`: attack a cluster seed after seed, and say what broke.

python -m faults.run --minutes 30                seeds one after the other
python -m faults.run --seed 7 --seconds 40       one seed again
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

from faults.attack import Outcome
from faults.bench import AloneBench, ClusterBench
from faults.history import write
from tests.services.programs import ATTACK, Missing, ensure

SECONDS: Final = 45.0
"""Of one seed, without its settling."""


def said(outcome: Outcome) -> str:
    """One seed in a few lines."""
    faults = ", ".join(f"{count} {name}" for name, count in sorted(outcome.faults.items()))
    lines = [
        f"seed {outcome.seed}: {outcome.seconds:.0f} s, {sum(outcome.operations.values())} operations, "
        f"{sum(outcome.faults.values())} faults ({faults}), {len(outcome.violations)} violations"
    ]
    return "\n".join([*lines, *map(str, outcome.violations)])


def main() -> int:
    """Run, and return the exit code: 1 when a promise was broken, 2 when something is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--first", type=int, default=1, help="the first of several seeds")
    parser.add_argument("--minutes", type=float, default=30.0, help="begin no new seed after so long")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of one seed")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--sentinels", action="store_true", help="Redis is a master with a replica")
    kind.add_argument("--sqlite", action="store_true", help="one server on SQLite, whose disk is small")
    parser.add_argument("--history", type=Path, help="folder for the history of each seed")
    arguments = parser.parse_args()
    try:
        ensure(ATTACK)
    except Missing as error:
        print(error, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers that were started end, too
    until = time.monotonic() + arguments.minutes * 60
    total: Counter[str] = Counter()
    broken = []
    with AloneBench() if arguments.sqlite else ClusterBench(arguments.sentinels) as bench:
        seed = arguments.seed if arguments.seed is not None else arguments.first
        while True:
            outcome = asyncio.run(bench.attack(seed, arguments.seconds))
            print(said(outcome), flush=True)
            total.update(
                seeds=1, operations=sum(outcome.operations.values()), faults=sum(outcome.faults.values())
            )
            if outcome.violations:
                broken.append(seed)
            if arguments.history is not None:
                arguments.history.mkdir(parents=True, exist_ok=True)
                write(outcome.events, arguments.history / f"{seed}.jsonl")
            seed += 1
            if arguments.seed is not None or time.monotonic() > until:
                break
    print(", ".join(f"{count} {name}" for name, count in total.items()))
    if broken:
        print(f"BROKEN at the seeds {' '.join(map(str, broken))}: run them again with --seed")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
