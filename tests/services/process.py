"""A process that the tests started: its log, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.services import prestarted


class StartError(RuntimeError):
    """The process ended or stayed silent instead of becoming ready; the message holds the end of its log."""


class Process:
    """One child process in a session of its own, so that no Ctrl-C meant for the tests reaches it."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        with log.open("ab") as output:
            self._popen: subprocess.Popen[bytes] | prestarted.Forked
            if env is not None and cwd is not None and user is None and prestarted.may_fork(command, env):
                self._popen = prestarted.fork(command, env, cwd, output, output)
                return
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                user=user,
                group=user and _group_of(user),
                extra_groups=None if user is None else [],
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id, also after the end."""
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._popen.poll()

    def log_text(self) -> str:
        """All that it has written to stdout and stderr."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_until(self, ready: Callable[[], bool], seconds: float = 150) -> None:
        """Return when `ready()` is true; `StartError` when the process ends first or needs too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.exit_code is not None:
                raise StartError(f"{self.name} ended with exit code {self.exit_code}:\n{self._log_end()}")
            if time.monotonic() > deadline:
                raise StartError(f"{self.name} was not ready after {seconds:g} s:\n{self._log_end()}")
            time.sleep(0.02)

    def wait(self, seconds: float = 60) -> int:
        """Wait for the end and return the exit code; `subprocess.TimeoutExpired` after `seconds`."""
        return self._popen.wait(seconds)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process alone; nothing when it has ended."""
        self._popen.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 60) -> int:
        """Ask it to end, wait, and return its exit code; kill it when it does not end within `seconds`."""
        self.send(number)
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it at once, as a crash would; its children are left to notice. Returns the exit code."""
        self._popen.kill()
        return self._popen.wait()

    def kill_session(self) -> None:
        """Kill whatever is left of the session that this process leads: itself and its descendants."""
        for pid in _session_of(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kill()

    def _log_end(self) -> str:
        return self.log_text()[-4000:]


def children(pid: int) -> set[int]:
    """The processes that a process has started and not yet collected."""
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def runs(pid: int) -> bool:
    """True while a process has not ended; False, too, for one that has and was not collected."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the second where it goes between open and read
        return False
    return state != "Z"


def _session_of(leader: int) -> Iterator[int]:
    """The processes of a session. Workers lead process groups of their own, so the group is not enough."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError):
            if os.getsid(int(entry.name)) == leader:
                yield int(entry.name)


def _group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid
