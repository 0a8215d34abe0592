"""SQLite: its journal, the file system below it, and that one worker has it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from broker_project.doctor.finding import Finding, error, ok, warning
from broker_project.doctor.plan import Plan

NAME: Final = "database"
MOUNTS: Final = Path("/proc/self/mountinfo")
OVER_A_NETWORK: Final = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "lustre", "glusterfs", "afs", "fuse.sshfs")
)
"""File systems whose locks, or memory that processes share, SQLite cannot rely on."""


class Reading(NamedTuple):
    """The version of the library, the journal mode of the file, and the type of file system it is on."""

    version: str
    journal: str
    file_system: str


def read(connection: Any, file: Path) -> Reading:
    """Ask the file. Raises DatabaseError."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        journal = str(cursor.fetchone()[0])
    return Reading(sqlite3.sqlite_version, journal, file_system_of(file))


def file_system_of(file: Path, mounts: Path = MOUNTS) -> str:
    """The type of file system that a file is on; "" where the system does not tell."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, found = -1, ""
    for line in lines:
        mount, _, rest = line.partition(" - ")
        place = Path(mount.split(" ")[4].replace("\\040", " "))
        if file.absolute().is_relative_to(place) and len(place.parts) >= best:
            best, found = len(place.parts), rest.split(" ")[0]
    return found


def judge(reading: Reading, plan: Plan) -> Iterator[Finding]:
    """A finding for each subject."""
    yield _workers(reading.version, plan.workers)
    yield _journal(reading.journal)
    yield _file_system(reading.file_system)


def _workers(version: str, workers: int) -> Finding:
    shown = f"SQLite {version} answers"
    if workers > 1:
        return warning(
            NAME,
            f"{shown}, but {workers} workers wait for each other's writes",
            "set DATABASE_URL=postgres://…, or WORKERS=1",
        )
    return ok(NAME, shown)


def _journal(journal: str) -> Finding:
    name = f"{NAME} journal"
    if journal.lower() != "wal":
        return error(
            name,
            f"the journal mode is {journal}: readers and the writer wait for each other",
            "put the file on a local disk, and run `sqlite3 FILE 'PRAGMA journal_mode=WAL'`",
        )
    return ok(name, "WAL")


def _file_system(kind: str) -> Finding:
    name = f"{NAME} file system"
    if kind in OVER_A_NETWORK:
        return error(
            name,
            f"the file is on {kind}: SQLite loses data on file systems of a network",
            "put VAR_DIR on a local disk, or use PostgreSQL",
        )
    return ok(name, kind or "unknown")
