"""How the hooks fare on each worker: what their questions came to, and which are left alone."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from routing_app.core.cluster.calls import CallError, Calls, Incoming
from routing_app.core.cluster.subscriptions import LayerUnavailable
from routing_app.core.database import query
from routing_app.core.hooks.hooks import Hooks
from routing_app.core.models import WorkerRecord

if TYPE_CHECKING:
    from routing_app.core.worker import Worker

logger = logging.getLogger(__name__)

VERB: Final = "hooks.states"
ANSWER_SECONDS: Final = 2.0
"""Longest wait for the answer of another worker."""

HookState = dict[str, Any]
"""`{"hook", "worker", "left_alone", "outcomes"}`: ids of both, whether the breaker is open there, and the
questions by their outcome since that worker knows the hook as it is."""


def serve(calls: Calls, hooks: Hooks) -> None:
    """Tell other workers of the hooks of this one."""

    async def told(incoming: Incoming) -> list[HookState]:
        return here(hooks)

    calls.serve(VERB, told)


def here(hooks: Hooks) -> list[HookState]:
    """The hooks of this worker, without its id."""
    return [
        {
            "hook": backend.id,
            "left_alone": backend.breaker.is_open,
            "outcomes": {outcome.value: count for outcome, count in backend.outcomes.items()},
        }
        for backend in hooks.backends
    ]


async def everywhere(worker: Worker) -> list[HookState]:
    """The hooks of all workers that answer, by worker. Raises what the database raises."""
    ids = await query(_serving)
    answers = await asyncio.gather(*(_of(worker, id) for id in ids))
    return [{"worker": id, **state} for id, states in zip(ids, answers, strict=True) for state in states]


def _serving() -> list[str]:
    return list(WorkerRecord.objects.alive().order_by("started_at", "id").values_list("pk", flat=True))


async def _of(worker: Worker, id: str) -> list[HookState]:
    if id == worker.id:
        return here(worker.hooks)
    try:
        answer: list[HookState] = await worker.calls.call(id, VERB, timeout=ANSWER_SECONDS)
    except (CallError, LayerUnavailable, TimeoutError) as error:
        logger.info("hooks: worker %s does not answer: %s", id, type(error).__name__)
        return []
    return answer
