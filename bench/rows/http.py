"""Publishing over HTTP: kept connections, API key checked, one receiver that counts what arrives."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from bench.bench import Bench
from bench.contestants import DAPHNE, SERVE, Contestant
from bench.load import Load
from bench.section import Column, Mark, Reading, Results, Row, Section, at_least

CLIENTS: Final = 16
SIZE: Final = 100
BODIES: Final = {
    "/api/publish": ("application/json", '{"addresses": ["token:load"], "message": "{message}"}'),
    "/": ("application/x-www-form-urlencoded", f"method=broadcast&message=load{quote('|')}" + "{message}"),
}
"""Content type and body by path; "{message}" stands for SIZE bytes."""
PROMISED: Final = {"/api/publish": 20_000, "/": 15_000}
"""Publishes a second of `serve`, by path."""


def _post(contestant: Contestant, path: str, bench: Bench) -> Reading:
    with contestant.start(bench) as running, Load(running.port, running.broadcast, SIZE) as load:
        assert running.server is not None
        # `serve` makes the preset key when it first starts; plain Daphne does not.
        script = "from routing_app.core.access.firstrun import prepare; prepare()"
        running.server.manage("shell", "-c", script)
        request = _request(bench.new_folder(), path, running.server.api_key)
        load.open(1)
        load.post(0.3, CLIENTS, request)
        post = bench.sample(running, load, partial(load.post, bench.seconds, CLIENTS, request))
    fault = post.phase.uneven
    return {
        "rate": fault or post.per_second,
        "us": fault or post.server_us,
        "p50": fault or post.phase.p50_ms,
        "p99": fault or post.phase.p99_ms,
    }


def _request(folder: Path, path: str, key: str) -> Path:
    """The request as a file for the load generator."""
    kind, body = BODIES[path]
    length = len(body) - len("{message}") + SIZE
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {key}\r\n"
    file = folder / "request"
    head += f"Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    file.write_bytes((head + body).encode())
    return file


def _row(contestant: Contestant, path: str) -> Row:
    return Row(
        f"{contestant.label}: `POST {path}`", partial(_post, contestant, path), quick=contestant is SERVE
    )


def _marks(results: Results) -> list[Mark]:
    marks = []
    for label, reading in results.items():
        if label.startswith(SERVE.label):
            path = label.rpartition("`POST ")[2].rstrip("`")
            least = PROMISED[path]
            marks += at_least(f"serve, `{path}`: at least {least:,} publishes/s", reading["rate"], least)
    return marks


SECTION = Section(
    name="http",
    title=f"Published over HTTP, {CLIENTS} kept connections",
    columns=(
        Column("rate", "publishes/s"),
        Column("us", "CPU µs each"),
        Column("p50", "p50 ms until received", 1),
        Column("p99", "p99 ms", 1),
    ),
    rows=tuple(_row(contestant, path) for contestant in (SERVE, DAPHNE) for path in BODIES),
    marks=_marks,
    order=40,
)
