"""The folder of secrets and of SQLite: writable, private, with room."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from broker_project.doctor.finding import Finding, error, ok, warning

FOLDER: Final = "VAR_DIR"
DISK: Final = "disk"
LITTLE: Final = 10**9
NEXT_TO_NOTHING: Final = 10**8
SECRETS: Final = ("secret_key", "switchboard.sqlite3", "tls/self-signed.key")
"""Files of the folder that are for the server alone."""


class Folder(NamedTuple):
    """A folder: whether this user may write into it, its mode, files in it that others may read, and the
    bytes that its file system has left."""

    path: Path
    writable: bool
    mode: int
    readable: tuple[str, ...]
    free: int


def read(path: Path) -> Folder | None:
    """The folder; None where it is not there."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        readable = tuple(name for name in SECRETS if _others_may(path / name))
        return Folder(path, os.access(path, os.W_OK | os.X_OK), mode, readable, shutil.disk_usage(path).free)
    except OSError:
        return None


def judge(folder: Folder | None) -> Iterator[Finding]:
    """What it is like, and the room that is left."""
    if folder is None:
        yield error(FOLDER, "the folder is not there", "make it, for the user of the server: mode 700")
        return
    yield _access(folder)
    yield _room(folder)


def _access(folder: Folder) -> Finding:
    if not folder.writable:
        advice = f"run this as the user of the server, or `chown` {folder.path}"
        return error(FOLDER, f"{folder.path} is not writable for this user", advice)
    private = f"`chmod 700 {folder.path}`"
    if folder.mode & 0o077 and folder.readable:
        return error(FOLDER, f"others may read {', '.join(folder.readable)} in {folder.path}", private)
    if folder.mode & 0o077:
        return warning(FOLDER, f"{folder.path} has mode {folder.mode:o}: others may look in", private)
    return ok(FOLDER, f"{folder.path} is writable and private")


def _room(folder: Folder) -> Finding:
    shown = f"{folder.free // 10**6:,} MB are free at {folder.path}"
    if folder.free < NEXT_TO_NOTHING:
        return error(DISK, shown, "make room: a full disk stops SQLite, logs and certificates")
    if folder.free < LITTLE:
        return warning(DISK, shown, "make room before it is full: SQLite and logs grow")
    return ok(DISK, shown)


def _others_may(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o077)
    except OSError:
        return False
