"""Events by which workers tell each other who is subscribed to addresses that are watched.

| event | to | message | says |
|---|---|---|---|
| WATCH | all, or one | asker, number, `{address: version}` | answer, and report to me from now on |
| ANSWER | the asker | worker, number, `{address: state}` | who is subscribed there |
| REPORT | those that watch | worker, `{address: step}` | who has come and left there since the last one |
| UNWATCH | all, or one | asker, number, addresses | no more reports of these |

The state of an address in a worker has a version, a number that only grows. `version` of a WATCH is the one
that the asker knows: NONE has everything answered, and ANY the version alone if the asker is known there.
A state is `[version]` where that is enough, else `[version, count, members]`; a step is
`[version before, version, count, joined, left]`. Members are `[id, protocol, identity]` each; null stands for
more than are listed. A step whose version before is not the known one shows that a report was lost: the
asker asks again. `number` grows with each WATCH and UNWATCH of an asker.
"""

from __future__ import annotations

from typing import Final

WATCH: Final = "$presence.watch"
ANSWER: Final = "$presence.answer"
REPORT: Final = "$presence.report"
UNWATCH: Final = "$presence.unwatch"

NONE: Final = 0
ANY: Final = -1

ADDRESSES: Final = 100
"""Addresses in one message."""
