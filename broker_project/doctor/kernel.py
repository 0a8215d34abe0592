"""Settings of the kernel that bound how many connect at once, and how many stay: `deploy/sysctl.conf`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from broker_project.doctor.finding import Bound, Finding, ok, warning
from broker_project.doctor.plan import Plan
from switchboard_server.endpoints import BACKLOG

SYSTEM: Final = Path("/proc/sys")
PORTS: Final = "net.ipv4.ip_local_port_range"
RESERVED: Final = "net.ipv4.ip_local_reserved_ports"
TRACKED: Final = "net.netfilter.nf_conntrack_max"
OTHER_FILES: Final = 10_000
"""Files of everything else on the machine."""

WANTED: Final[Mapping[str, Callable[[Plan], int]]] = {
    "net.core.somaxconn": lambda plan: BACKLOG,
    "net.ipv4.tcp_max_syn_backlog": lambda plan: BACKLOG,
    "fs.nr_open": lambda plan: plan.max_connections + plan.other_files,
    "fs.file-max": lambda plan: plan.connections + plan.workers * plan.other_files + OTHER_FILES,
    # A proxy on this machine has a connection of its own for each client.
    TRACKED: lambda plan: plan.connections * (2 if plan.local_proxy else 1),
}
"""Name of a setting -> the least value."""
NAMES: Final = (*WANTED, PORTS, RESERVED)
MEANING: Final = {
    "net.core.somaxconn": "handshakes that wait for accept()",
    "net.ipv4.tcp_max_syn_backlog": "handshakes that are half done",
    "fs.nr_open": "files of a process, at most",
    "fs.file-max": "files of all processes",
    TRACKED: "connections that the firewall tracks",
}


def read(system: Path = SYSTEM) -> dict[str, str]:
    """The settings that this kernel has, by name; without nf_conntrack it has none of it."""
    found = {}
    for name in NAMES:
        try:
            found[name] = (system / name.replace(".", "/")).read_text(encoding="ascii").strip()
        except OSError:
            continue
    return found


def judge(values: Mapping[str, str], plan: Plan) -> Iterator[Finding]:
    """A finding for each setting that the kernel has."""
    for name, wanted in WANTED.items():
        if name in values:
            yield _at_least(name, int(values[name]), wanted(plan))
    if PORTS in values:
        yield from _ports(values, plan)


def bounds(values: Mapping[str, str], plan: Plan) -> Iterator[Bound]:
    """Connections that the kernel allows."""
    if TRACKED in values:
        yield Bound(TRACKED, int(values[TRACKED]) // (2 if plan.local_proxy else 1))
    if PORTS in values and plan.local_proxy:
        yield Bound(PORTS, _count(values[PORTS]))


def _at_least(name: str, value: int, wanted: int) -> Finding:
    shown = f"{MEANING[name]}: {value:,}"
    if value >= wanted:
        return ok(name, f"{shown}, and {wanted:,} are needed")
    return warning(name, f"{shown}, but {wanted:,} are needed", f"set {name} = {wanted} (deploy/sysctl.conf)")


def _ports(values: Mapping[str, str], plan: Plan) -> Iterator[Finding]:
    low, high = map(int, values[PORTS].split())
    shown = f"ports for connections that this machine opens: {low} to {high}"
    if plan.local_proxy and _count(values[PORTS]) < min(plan.connections, 64_000):
        yield warning(
            PORTS,
            f"{shown}: the proxy on this machine needs one for each client",
            f"set {PORTS} = 1024 65535 (deploy/sysctl.conf), or have the proxy connect to several addresses",
        )
    else:
        yield ok(PORTS, shown)
    if low <= plan.port <= high and not _holds(values.get(RESERVED, ""), plan.port):
        yield warning(
            RESERVED,
            f"a connection that this machine opens may take port {plan.port} before the server starts",
            f"set {RESERVED} = {plan.port} (deploy/sysctl.conf)",
        )


def _count(ports: str) -> int:
    low, high = map(int, ports.split())
    return high - low + 1


def _holds(ports: str, port: int) -> bool:
    """True where a list such as `8000,9000-9002` has a port."""
    ranges = (word.partition("-") for word in ports.split(",") if word.strip())
    return any(int(first) <= port <= int(last or first) for first, _, last in ranges)
