"""The topic `trace`: frames of connections, one by one; a watch is one trace, on all workers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar, Final

from routing_app.console.access import READ_BODIES, TRACE, Viewer
from routing_app.console.topics.topic import Followed, TopicError
from routing_app.core.audit.actor import Actor
from routing_app.core.frame_trace.target import BadTarget, Target, TargetKind
from routing_app.core.frame_trace.watch import MAX_SECONDS, TooManyTraces, Trace, Watcher
from routing_app.core.models.audit import ActorKind
from routing_app.core.worker import current_worker

KINDS: Final = tuple(kind.value for kind in TargetKind)


class TraceTopic(Followed):
    """Begins with a batch, mostly empty, once every worker follows; ends with the trace."""

    name = "trace"
    permissions: ClassVar = (TRACE,)

    def checked(self, params: dict[str, Any]) -> dict[str, Any]:
        """One of `connection`, `identity`, `network`, `address`; `bodies`; `seconds`. Raises TopicError."""
        named = [kind for kind in KINDS if kind in params]
        bodies, seconds = params.get("bodies", False), params.get("seconds", MAX_SECONDS)
        if len(named) != 1:
            raise TopicError(400, f"Expected one of {', '.join(KINDS)}.")
        if not isinstance(bodies, bool):
            raise TopicError(400, "Expected true or false as bodies.")
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not 0 < seconds <= MAX_SECONDS
        ):
            raise TopicError(400, f"Expected at most {MAX_SECONDS:.0f} seconds.")
        kind = named[0]
        try:
            value = Target.of(kind, params[kind]).value
        except BadTarget as error:
            raise TopicError(400, f"{kind}: {error}.") from None
        return {kind: value, "bodies": bodies, "seconds": seconds}

    async def follow(self, viewer: Viewer, params: dict[str, Any]) -> AsyncIterator[Any]:
        """The batches of the trace. Raises TopicError."""
        if params["bodies"] and not viewer.has_perm(READ_BODIES):
            raise TopicError(403, "Your account may not read bodies.")
        kind = next(kind for kind in KINDS if kind in params)
        who = Watcher(Actor(ActorKind.USER, viewer.user), viewer.connection.peer.host)
        target = Target.of(kind, params[kind])
        trace = Trace(current_worker(), target, who, params["bodies"], params["seconds"])
        try:
            async for batch in trace.batches():
                yield batch
        except TooManyTraces as error:
            raise TopicError(503, f"{error}.") from None
