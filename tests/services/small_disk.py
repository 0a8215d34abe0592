"""A file system of a few MB that a test fills up: a tmpfs in a mount namespace of its own."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from tests.services.databases import REPOSITORY
from tests.services.process import Process, StartError

MEGABYTES: Final = 16
MOUNTED: Final = "the disk is there"
SQL: Final = """
import json, sqlite3, sys
with sqlite3.connect(sys.argv[1], timeout=20) as database:
    print(json.dumps(database.execute(sys.argv[2], sys.argv[3:]).fetchall()))
"""


class SmallDisk:
    """A context manager; `within` begins the command of a process that shall see the disk, at `path`.

    It stays while processes on it end and begin. It needs root, or user namespaces for everybody.
    """

    def __init__(self, folder: Path, megabytes: int = MEGABYTES) -> None:
        self.path = folder / "disk"
        self.database = self.path / "switchboard.sqlite3"
        self._megabytes = megabytes
        self._log = folder / "disk.log"
        self._holder: Process | None = None

    def __enter__(self) -> Self:
        self.path.mkdir()
        mount = f"mount -t tmpfs -o size={self._megabytes}m,mode=700 tmpfs {shlex.quote(str(self.path))}"
        script = f"{mount} && echo {MOUNTED} && exec sleep infinity"
        rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        command = ["unshare", *rights, "--mount", "sh", "-c", script]
        self._holder = Process(command, log=self._log, cwd=REPOSITORY)
        try:
            self._holder.wait_until(lambda: MOUNTED in self._log.read_text(), 60)
        except StartError as error:
            raise RuntimeError(f"no disk of its own without root or user namespaces: {error}") from None
        return self

    def __exit__(self, *error: object) -> None:
        if self._holder is not None:
            self._holder.kill_session()

    @property
    def url(self) -> str:
        """DATABASE_URL, for those who see the disk."""
        return f"sqlite:///{self.database}"

    @property
    def within(self) -> list[str]:
        """Enters the namespace, and runs what follows."""
        assert self._holder is not None
        rights = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        # Whoever enters is in the root folder, but for --wd, which is the holder's.
        return ["nsenter", "--target", str(self._holder.pid), *rights, "--mount", "--wd"]

    def take(self, file: Path) -> None:
        """Copy a database here."""
        shutil.copy(file, self._seen(self.database))

    def fill(self, spare: int = 0) -> int:
        """Use up all that is free, but for some bytes; how many it took."""
        size = 0
        with self._seen(self.path / "filling").open("ab", buffering=0) as file:
            for step in (2**16, 2**12, 1):
                try:
                    while True:
                        size += file.write(b"x" * step)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
            file.truncate(size - spare)
        return size - spare

    def free(self) -> None:
        """Give back what `fill` took."""
        self._seen(self.path / "filling").unlink(missing_ok=True)

    def sql(self, statement: str, *values: str) -> Sequence[Any]:
        """Run one statement behind a server's back, its values marked `?`; the rows it returns."""
        command = [*self.within, sys.executable, "-S", "-c", SQL, str(self.database), statement, *values]
        rows: Sequence[Any] = json.loads(subprocess.check_output(command))
        return rows

    def _seen(self, path: Path) -> Path:
        """A path on the disk, as it is seen from here: SQLite alone does not find its way there."""
        assert self._holder is not None
        return Path(f"/proc/{self._holder.pid}/root") / path.relative_to("/")
