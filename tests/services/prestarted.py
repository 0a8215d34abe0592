"""Python with its imports behind it: servers of the tests are forked from it.

A server takes a second of processor time to start, most of it for imports of packages, and the tests start
hundreds. A host process imports those that need no settings, and forks for each command; the rest of the
start is the same as ever: `manage.py` runs from its first line in the child. The host has no thread, no
connection and no settings. Tests of the start itself begin with a new interpreter (`off`).
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import IO, Any, Final

PACKAGES: Final = (
    "annotated_types",
    "channels.consumer",
    "channels_redis.pubsub",
    "django.contrib.admin.views.main",
    "django.contrib.auth.checks",
    "django.core.management",
    "django.db.backends.sqlite3.creation",
    "django.db.migrations.autodetector",
    "django.urls",
    "django_stubs_ext",
    "drf_spectacular.utils",
    "environ",
    "httptools",
    "jwt",
    "orjson",
    "psycopg",
    "psycopg_pool",
    "pydantic",
    "redis.asyncio",
    "rest_framework.response",
    "routing_app.events.wire",
    "switchboard_server.cli",
    "websockets.speedups",
    "whitenoise.base",
)
"""Imported before the fork; none reads a setting. prometheus_client is left out: it reads the environment."""
FORKED: Final = b"forked"
ENDED: Final = b"ended"
FILES: Final = 3
"""Stdin, stdout and stderr."""


class Host:
    """The host of this process, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._codes: dict[int, int] = {}
        self._forked: list[int] = []
        self._unread = b""

    def start(self, command: Sequence[str], env: Mapping[str, str], cwd: Path, files: Sequence[int]) -> int:
        """Fork for `python <command>` with stdin, stdout and stderr; the id of the process."""
        with self._lock:
            request = {"command": list(command), "env": dict(env), "cwd": str(cwd)}
            data = json.dumps(request).encode()
            own = self._open()
            socket.send_fds(own, [len(data).to_bytes(4, "big") + data], list(files))
            while not self._forked:
                self._read(None)
            return self._forked.pop()

    def code(self, pid: int) -> int | None:
        """The exit code of a process that was forked here, negative for a signal; None while it runs."""
        with self._lock:
            while pid not in self._codes and self._read(0):
                pass
            return self._codes.get(pid)

    def _open(self) -> socket.socket:
        if self._socket is None:
            own, other = socket.socketpair()
            command = [sys.executable, "-m", __name__, str(other.fileno())]
            with other:
                self._process = subprocess.Popen(
                    command,
                    cwd=Path(__file__).parents[2],
                    env={
                        name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"
                    },
                    stdin=subprocess.DEVNULL,
                    pass_fds=[other.fileno()],
                    start_new_session=True,
                )
            self._socket = own
            atexit.register(self.close)
        return self._socket

    def _read(self, seconds: float | None) -> bool:
        """Read what the host says; False when it has said nothing for so long, None: without end."""
        if self._socket is None or not select.select([self._socket], [], [], seconds)[0]:
            return False
        data = self._socket.recv(65536)
        if not data:
            raise RuntimeError("the host of prestarted servers has ended")
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            word, pid, *code = line.split()
            if word == FORKED:
                self._codes.pop(int(pid), None)  # of a process that had the number before
                self._forked.append(int(pid))
            else:
                self._codes[int(pid)] = int(code[0])
        return True

    def close(self) -> None:
        """End the host; what it has forked goes on."""
        if self._socket is not None and self._process is not None:
            self._socket.close()
            self._process.wait()
            self._socket = self._process = None


class Forked:
    """A forked process, with the part of `subprocess.Popen` that the tests use."""

    def __init__(self, host: Host, pid: int) -> None:
        self._host = host
        self.pid = pid

    def poll(self) -> int | None:
        """See `subprocess.Popen`."""
        return self._host.code(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        """See `subprocess.Popen`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(["prestarted"], timeout or 0)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        """See `subprocess.Popen`."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """See `subprocess.Popen`."""
        self.send_signal(signal.SIGKILL)


_host: Final = Host()
_offs: Final[list[None]] = []


@contextmanager
def off() -> Iterator[None]:
    """Within it each process begins with an interpreter of its own."""
    _offs.append(None)
    try:
        yield
    finally:
        _offs.pop()


def may_fork(command: Sequence[Any], env: Mapping[str, str]) -> bool:
    """True for a command of this interpreter that asks nothing special of it."""
    if _offs or "PYTEST_VERSION" not in os.environ or command[0] != sys.executable:
        return False
    if "LD_PRELOAD" in env:
        return False
    return _python(env) == _python(os.environ) and command[1] in ("manage.py", "-m")


def fork(
    command: Sequence[str | Path], env: Mapping[str, str], cwd: Path, stdout: IO[Any], stderr: IO[Any]
) -> Forked:
    """Start `command`, which `may_fork`, in a session of its own."""
    words = [str(word) for word in command[1:]]
    with Path(os.devnull).open("rb") as nothing:
        files = [nothing.fileno(), stdout.fileno(), stderr.fileno()]
        return Forked(_host, _host.start(words, env, cwd, files))


def run(command: Sequence[str], env: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as `subprocess.run` with `capture_output`, and without input."""
    if not may_fork(command, env):
        return subprocess.run(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        code = fork(command, env, cwd, stdout, stderr).wait()
        texts = [os.pread(file.fileno(), 1 << 30, 0).decode() for file in (stdout, stderr)]
    return subprocess.CompletedProcess(command, code, *texts)


def _python(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that an interpreter reads before anything else."""
    read_later = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
    return {
        name: value for name, value in env.items() if name.startswith("PYTHON") and name not in read_later
    }


# --- the host's own process -------------------------------------------------------------------------------


def serve_forks(requests: socket.socket) -> dict[str, Any] | None:
    """Fork for each request until the other end is gone; returns in a child, with its request."""
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    while True:
        waiting: list[Any] = [requests, woken]
        ready = select.select(waiting, [], [])[0]
        if woken in ready:
            with suppress(BlockingIOError):
                os.read(woken, 4096)
            _tell_ends(requests)
        if requests in ready:
            head, files, *_ = socket.recv_fds(requests, 4, FILES)
            if len(head) < 4:
                return None
            size, data = int.from_bytes(head, "big"), b""
            while len(data) < size:
                if not (part := requests.recv(size - len(data))):
                    return None
                data += part
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                requests.close()
                os.close(woken)
                os.close(wake)
                _take_files(files)
                return dict(json.loads(data))
            for one in files:
                os.close(one)
            requests.sendall(b"%s %d\n" % (FORKED, pid))


def _tell_ends(requests: socket.socket) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with suppress(BrokenPipeError):
                requests.sendall(b"%s %d %d\n" % (ENDED, ended[0], os.waitstatus_to_exitcode(ended[1])))


def _take_files(files: Sequence[int]) -> None:
    for number, one in enumerate(files):
        os.dup2(one, number)
    for one in files:
        if one >= FILES:
            os.close(one)


def become(request: dict[str, Any]) -> None:
    """Be a new interpreter with this command, as far as a program can tell."""
    os.setsid()
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    command: list[str] = request["command"]
    sys.orig_argv[:] = [sys.executable, *command]
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    if "PYTHONUNBUFFERED" in os.environ:
        sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
    path = os.environ.get("PYTHONPATH", "")
    sys.path[:] = [request["cwd"], *filter(None, path.split(os.pathsep)), *_own_path]
    module = command[0] == "-m"
    sys.argv[:] = command[1:] if module else command
    del sys.modules["__main__"]
    if module:
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    import gc

    _own_path = [one for one in sys.path if "site-packages" in one or "lib/python" in one]
    for name in PACKAGES:
        import_module(name)
    gc.freeze()
    if (request := serve_forks(socket.socket(fileno=int(sys.argv[1])))) is not None:
        become(request)
