"""The start of the server: in this process, or in workers under a supervisor."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import connections
from prometheus_client.multiprocess import mark_process_dead

from broker_project.serving.preflight import StartProblem
from switchboard_server.cli import CommandLine
from switchboard_server.supervisor import StartFailed, Supervisor

OWN_SITE: Final = "broker_project.asgi.application"
"""ASGI_APPLICATION where no other project has the broker in it."""
SETTINGS: Final = "DJANGO_SETTINGS_MODULE"


@dataclass(frozen=True)
class Plan:
    """How to serve: the server's arguments, its socket (None: the arguments say where), how many workers."""

    arguments: list[str]
    listening: socket.socket | None
    workers: int
    announce: Callable[[], object]
    """Called once when everything listens."""


def serve(plan: Plan) -> int:
    """Serve until a signal; returns the exit code. Raises StartProblem when the workers do not start."""
    connections.close_all()
    if plan.workers > 1:
        return _supervise(plan)
    command_line = CommandLine(plan.announce)
    command_line.run(_arguments(plan))
    return 0


def _arguments(plan: Plan) -> list[str]:
    where = [] if plan.listening is None else ["--fd", str(plan.listening.fileno())]
    module, _, name = settings.ASGI_APPLICATION.rpartition(".")
    return [*where, *plan.arguments, f"{module}:{name}"]


def _supervise(plan: Plan) -> int:
    with tempfile.TemporaryDirectory(prefix="switchboard-metrics-") as metrics:
        supervisor = Supervisor(
            command=lambda ready, parent: _worker_command(plan, ready, parent),
            count=plan.workers,
            descriptors=[] if plan.listening is None else [plan.listening.fileno()],
            env=_worker_environment(metrics),
            drain_seconds=settings.DRAIN_SECONDS,
            ended=lambda pid: mark_process_dead(pid, metrics),
        )
        try:
            return asyncio.run(supervisor.run(plan.announce))
        except StartFailed as error:
            raise StartProblem(str(error)) from None


def _worker_command(plan: Plan, ready: int, parent: int) -> list[str]:
    pipes = ["--ready-fd", str(ready), "--parent-fd", str(parent)]
    return [sys.executable, "-m", "switchboard_server", *pipes, *_arguments(plan)]


def _worker_environment(metrics: str) -> dict[str, str]:
    ours = str(Path(__file__).resolve().parents[2])
    project = sys.path[0]  # the folder of its `manage.py`
    path = os.pathsep.join(filter(None, [ours, project, os.environ.get("PYTHONPATH", "")]))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "PROMETHEUS_MULTIPROC_DIR": metrics,
        SETTINGS: os.environ[SETTINGS],
    }
