"""The streams of a process that stops in order, and the ids of messages, in a file for the next start.

The file is taken away before the streams in it are used: after a crash there is none, and every epoch is a
new one. It holds messages, so only its owner may read it.
"""

from __future__ import annotations

import json
import logging
import os
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from routing_app.core.delivery.publication import Position
from routing_app.core.streams.memory import MemoryStream, Once
from routing_app.core.streams.store import Appended, Bounds

logger = logging.getLogger(__name__)

NAME: Final = "streams.jsonl"
VERSION: Final = 2


class Kept(NamedTuple):
    """The content of a file."""

    streams: Mapping[str, MemoryStream]
    once: Once


def write(folder: Path, kept: Kept) -> None:
    """Write everything, or nothing. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = folder / f"{NAME}.{os.getpid()}"
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(json.dumps({"version": VERSION}) + "\n")
            file.writelines(json.dumps(_packed(*one)) + "\n" for one in kept.streams.items())
            file.writelines(json.dumps(_packed_id(*one)) + "\n" for one in kept.once.items())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / NAME)
    finally:
        partial.unlink(missing_ok=True)


def take(folder: Path) -> Kept:
    """What the last stop left, whose file is gone after this; nothing where there is none."""
    path = folder / NAME
    taken = folder / f"{NAME}.{os.getpid()}.taken"
    try:
        path.replace(taken)  # one process of several that start at once gets it
    except FileNotFoundError:
        return Kept({}, OrderedDict())
    try:
        with taken.open(encoding="ascii") as file:
            lines = list(file)
    finally:
        taken.unlink(missing_ok=True)
    try:
        return _read(lines)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        logger.warning("%s cannot be read, so all streams begin a new epoch: %s", path, type(error).__name__)
        return Kept({}, OrderedDict())


def _packed(address: str, stream: MemoryStream) -> dict[str, Any]:
    return {
        "address": address,
        "epoch": stream.epoch,
        "offset": stream.offset,
        "bounds": stream.bounds,
        "used_at": stream.used_at,
        "former": stream.former,
        "rows": [[at, record.decode(), several] for _, at, record, several in stream.rows],
    }


def _packed_id(once: str, known: tuple[float, Appended]) -> dict[str, Any]:
    until, appended = known
    return {"once": once, "until": until, "positions": appended.positions}


def _read(lines: Iterable[str]) -> Kept:
    head, *rest = map(json.loads, lines)
    if head["version"] != VERSION:
        raise ValueError("another version")
    streams = {one["address"]: _unpacked(one) for one in rest if "address" in one}
    return Kept(streams, OrderedDict(_unpacked_id(one) for one in rest if "address" not in one))


def _unpacked(packed: dict[str, Any]) -> MemoryStream:
    stream = MemoryStream(packed["epoch"], Bounds(*packed["bounds"]), packed["used_at"], packed["offset"])
    if packed["former"] is not None:
        stream.former = Position(*packed["former"])
    first = stream.offset - len(packed["rows"]) + 1
    stream.rows = deque(
        (offset, at, record.encode(), several)
        for offset, (at, record, several) in enumerate(packed["rows"], first)
    )
    return stream


def _unpacked_id(packed: dict[str, Any]) -> tuple[str, tuple[float, Appended]]:
    positions = {address: Position(*position) for address, position in packed["positions"].items()}
    return packed["once"], (packed["until"], Appended(positions))
