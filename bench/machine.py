"""The machine that is measured on: its cores, who else uses them, and what a process has used."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_CORES: Final = sorted(os.sched_getaffinity(0))
SERVER_CORE: Final = _CORES[0]
LOAD_CORE: Final = _CORES[-1]
"""The same as SERVER_CORE on a machine with one core; the description says so."""

GLANCE: Final = 0.5
"""Seconds for which one looks whether the machine is quiet."""
QUIET: Final = 0.15
"""Part of the time for which others may use a core, or keep server or load waiting for it."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run, and start processes, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def describe() -> str:
    """Processor, cores and interpreter, in a line."""
    model = next(
        (line.partition(":")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    cores = f"{len(_CORES)} cores" if len(_CORES) > 1 else "ONE core for server and load"
    return f"{model.strip() or platform.machine()}, {cores}, Python {platform.python_version()}"


def family(pids: Iterable[int]) -> list[int]:
    """Processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = list(pids)
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time that processes have used so far, in user space and in the kernel."""
    return sum((int(fields[11]) + int(fields[12])) / _TICKS for pid in pids if (fields := _stat(pid)))


def resident_kb(pids: Iterable[int]) -> int:
    """Resident memory of processes in kB; what they share with each other is counted once for each."""
    lines = (line for pid in pids for line in _lines(f"/proc/{pid}/status") if line.startswith("VmRSS:"))
    return sum(int(line.split()[1]) for line in lines)


def waited_seconds(pids: Iterable[int]) -> float:
    """Time for which threads of these processes were ready to run and another one had their core."""
    tasks = (path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(int(lines[0].split()[1]) for path in tasks if (lines := _lines(str(path)))) / 1e9


def busy_seconds(core: int) -> float:
    """Time in which a core was not idle, without interrupts, with what the hypervisor took away."""
    fields = next(line for line in _lines("/proc/stat") if line.startswith(f"cpu{core} ")).split()
    user, nice, system, steal = (int(fields[index]) for index in (1, 2, 3, 8))
    return (user + nice + system + steal) / _TICKS


def wait_until_quiet(patience: float) -> None:
    """Return when both cores have been nearly idle for half a second, or after `patience` seconds."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = {core: busy_seconds(core) for core in (SERVER_CORE, LOAD_CORE)}
        time.sleep(GLANCE)
        if all(busy_seconds(core) - seconds <= QUIET * GLANCE for core, seconds in before.items()):
            return


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the name: state, parent, ...; empty when there is no such process."""
    lines = _lines(f"/proc/{pid}/stat")
    return lines[0].rpartition(")")[2].split() if lines else []


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
