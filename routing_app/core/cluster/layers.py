"""The channel layer of a single process.

Stock `InMemoryChannelLayer` walks every group on every send, forgets group members after a day, and drops
silently beyond 100 waiting messages. The hub keeps one member per address, for as long as it likes, and
counts what it loses itself; so here nothing expires and the capacity is out of reach.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

from channels.layers import InMemoryChannelLayer


class ProcessChannelLayer(InMemoryChannelLayer):
    """`InMemoryChannelLayer` without expiry, without the walk over all groups, with room for every
    envelope."""

    def __init__(self, capacity: int = 1_000_000, **options: Any) -> None:
        super().__init__(capacity=capacity, **options)
        self.members: dict[str, tuple[str, ...]] = {}
        """Channels by group. The hub has one in each of its groups, which a tuple keeps in a fourth of the
        bytes of upstream's dictionary of times."""

    async def flush(self) -> None:
        """See upstream."""
        await super().flush()
        self.members.clear()

    def _clean_expired(self) -> None:
        """Nothing expires: the hub removes what it added."""

    async def group_add(self, group: str, channel: str) -> None:
        """See upstream."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        members = self.members.get(group, ())
        if channel not in members:
            self.members[group] = (*members, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """See upstream."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        if members := tuple(member for member in self.members.pop(group, ()) if member != channel):
            self.members[group] = members

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Hand the message itself to every member.

        Upstream copies it deeply for each, which a deeply nested message does not survive (and CPython 3.11
        itself may not, after the RecursionError); envelopes are built for one send and changed by nobody.
        """
        self.require_valid_group_name(group)
        for channel in self.members.get(group, ()):
            queue = self.channels.setdefault(channel, asyncio.Queue())
            queue.put_nowait((math.inf, message))

    def is_sole_member(self, group: str, channel: str) -> bool:
        """True when `group` has no member besides `channel`: then sending to it would be for nothing."""
        return self.members.get(group, ()) in ((), (channel,))
