"""The fewest sessions whose end makes room in several limits at once. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

Pattern = tuple[bool, ...]
"""In which of the limits a session counts."""

WHOLE: Final = 6
SHARES: Final = (0, 2, 3, 4, WHOLE)
"""Weights of a limit: none, a third, a half, two thirds, all. See `fewest`."""


@dataclass(slots=True)
class SizeBound:
    """The need that the ended sessions have to meet together, and the share of a session of each pattern."""

    due: int
    carried: Mapping[Pattern, int]


def fewest(needs: Sequence[int], counts_in: Sequence[Pattern]) -> list[int]:
    """The sessions that end: of the smallest choices that with the oldest, then the next oldest, and so on.

    `needs` says how many have to leave each limit; `counts_in` is of the sessions, oldest first. No need is
    above the number of sessions that count there. Beside limits in which every session counts (the
    account's) there are at most four others. The answer is positions in `counts_in`, ascending.

    The size of the smallest choice comes from lower bounds, not from a search, so thousands of sessions cost
    hardly more than reading them. Give each limit a weight of 0 to 1; a session carries the weights of its
    limits, but what it carries above 1 is its excess. Those that end carry sum(weight * need) at least, so
    their number is at least that sum less the excess of all sessions. For four limits or fewer the best of
    these bounds over weights in SHARES is exact, which the tests compare with a search. A session belongs to
    a smallest choice if with its end the best bound becomes smaller by one.
    """
    counts = Counter(counts_in)
    shared = [limit for limit in range(len(needs)) if all(pattern[limit] for pattern in counts)]
    others = [limit for limit in range(len(needs)) if limit not in shared]
    most = max((needs[limit] for limit in shared), default=0)
    bounds = [SizeBound(most * WHOLE, dict.fromkeys(counts, WHOLE))]
    bounds += [
        _bound(dict(zip(others, weights, strict=True)), needs, counts)
        for weights in product(SHARES, repeat=len(others))
    ]
    choice = _Choice(counts_in, bounds)
    choice.consider(range(len(counts_in)))
    return choice.chosen


def _bound(weights: Mapping[int, int], needs: Sequence[int], counts: Mapping[Pattern, int]) -> SizeBound:
    load = {pattern: sum(weights[limit] for limit in weights if pattern[limit]) for pattern in counts}
    excess = sum(max(0, load[pattern] - WHOLE) * count for pattern, count in counts.items())
    needed = sum(weight * needs[limit] for limit, weight in weights.items())
    return SizeBound(needed - excess, {pattern: min(WHOLE, carried) for pattern, carried in load.items()})


class _Choice:
    """A smallest choice, while it is made: the positions `chosen`, and the number `left` to choose."""

    def __init__(self, counts_in: Sequence[Pattern], bounds: Sequence[SizeBound]) -> None:
        self.chosen: list[int] = []
        self._left = -(-max(bound.due for bound in bounds) // WHOLE)
        self._counts_in = counts_in
        self._bounds = bounds
        self._passed: set[Pattern] = set()

    def consider(self, positions: Sequence[int]) -> None:
        """Choose among these, which follow those that were considered before."""
        run = [position for position in positions if self._counts_in[position] not in self._passed]
        if not run or not self._left:
            return
        if self._belong(run):
            self.chosen += run
            self._left -= len(run)
        elif len(run) == 1:
            # No smallest choice with those chosen so far has one more of this pattern, whichever follow.
            self._passed.add(self._counts_in[run[0]])
        else:
            self.consider(run[: len(run) // 2])
            self.consider(run[len(run) // 2 :])

    def _belong(self, run: Sequence[int]) -> bool:
        """Whether a smallest choice has all of these; if so, they are subtracted from what is due."""
        left = self._left - len(run)
        if left < 0:
            return False
        counts = Counter(self._counts_in[position] for position in run)
        dues = [
            bound.due - sum(bound.carried[pattern] * count for pattern, count in counts.items())
            for bound in self._bounds
        ]
        if max(dues) > left * WHOLE:
            return False
        for bound, due in zip(self._bounds, dues, strict=True):
            bound.due = due
        return True
