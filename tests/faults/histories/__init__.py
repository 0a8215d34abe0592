"""Histories that break each promise on purpose, and right ones that come close to it.

Each is a name, the promises that it breaks, and its lines.
"""

from __future__ import annotations

from tests.faults.histories.line import Cases
from tests.faults.histories.messages import MESSAGES
from tests.faults.histories.others import OTHERS
from tests.faults.histories.presence import PRESENCE
from tests.faults.histories.sessions import SESSIONS
from tests.faults.histories.streams import STREAMS

ALL: tuple[Cases, ...] = (SESSIONS, MESSAGES, STREAMS, PRESENCE, OTHERS)
