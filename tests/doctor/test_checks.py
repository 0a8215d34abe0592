"""Each check finds its fault in readings that are wrong on purpose, and says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from broker_project.doctor import (
    descriptors,
    files,
    kernel,
    memory,
    migrations,
    postgresql,
    proxies,
    redis_server,
    safety,
    sqlite,
    tls,
)
from broker_project.doctor.finding import Bound, Finding, Status, error, ok, warning
from broker_project.doctor.plan import Plan
from broker_project.doctor.report import Report, _line
from routing_app.core.unsafe import Unsafe
from tests.services.databases import REPOSITORY

pytestmark = pytest.mark.once

PLAN = Plan(workers=2, max_connections=10_000, database_threads=8)
BEHIND = Plan(workers=2, max_connections=30_000, database_threads=8, local_proxy=True)
NOW = datetime(2026, 11, 29, tzinfo=UTC)
GOOD_KERNEL = {
    "net.core.somaxconn": "4096",
    "net.ipv4.tcp_max_syn_backlog": "4096",
    "net.ipv4.ip_local_port_range": "32768\t60999",
    "net.ipv4.ip_local_reserved_ports": "",
    "fs.nr_open": "1048576",
    "fs.file-max": "1048576",
    "net.netfilter.nf_conntrack_max": "262144",
}
GOOD_POSTGRES = postgresql.Reading(15, "read committed", 100, 3, 0.01)
GOOD_SQLITE = sqlite.Reading("3.40.1", "wal", "ext4")
GOOD_REDIS = redis_server.Reading("7.0.15", 0, 10**6, "noeviction", True, False, False, 0.0002)
GOOD_FOLDER = files.Folder(Path("/var/lib/switchboard"), True, 0o700, ("secret_key",), 10**11)


def faults(findings: Iterable[Finding]) -> list[tuple[str, Status]]:
    """Name and status of all that is not well; each has to say what to do."""
    wrong = [finding for finding in findings if finding.status is not Status.OK]
    assert all(finding.advice for finding in wrong)
    assert all("\n" not in finding.message + finding.advice for finding in wrong)
    return [(finding.name, finding.status) for finding in wrong]


# --- the machine ------------------------------------------------------------------------------------------


def test_the_hard_limit_of_files_counts_and_not_the_soft_one() -> None:
    limits = descriptors.Limits(1024, 10_000)

    assert faults([descriptors.judge(limits, PLAN)]) == [("descriptors", Status.WARNING)]
    assert "LimitNOFILE=10108" in descriptors.judge(limits, PLAN).advice
    assert faults([descriptors.judge(descriptors.Limits(1024, 10_108), PLAN)]) == []
    assert descriptors.bound(limits, PLAN) == Bound("descriptors", 2 * (10_000 - 108))
    assert descriptors.bound(descriptors.Limits(10, 10), PLAN).limit == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.core.somaxconn", "128"),
        ("net.ipv4.tcp_max_syn_backlog", "512"),
        ("fs.nr_open", "10000"),
        ("fs.file-max", "30000"),
        ("net.netfilter.nf_conntrack_max", "19999"),
    ],
)
def test_each_setting_of_the_kernel_that_is_too_low_is_found(name: str, value: str) -> None:
    found = list(kernel.judge({**GOOD_KERNEL, name: value}, PLAN))

    assert faults(found) == [(name, Status.WARNING)]
    assert any(f"set {name} = " in finding.advice for finding in found)


def test_a_good_kernel_has_no_fault_and_one_without_conntrack_neither() -> None:
    bare = {name: value for name, value in GOOD_KERNEL.items() if name != kernel.TRACKED}

    assert faults(kernel.judge(GOOD_KERNEL, PLAN)) == []
    assert faults(kernel.judge(bare, PLAN)) == []
    assert list(kernel.bounds(bare, PLAN)) == []


def test_a_proxy_on_this_machine_needs_a_port_and_a_tracked_connection_more_for_each_client() -> None:
    found = kernel.judge({**GOOD_KERNEL, kernel.TRACKED: "119999"}, BEHIND)

    assert faults(found) == [(kernel.TRACKED, Status.WARNING), (kernel.PORTS, Status.WARNING)]
    assert list(kernel.bounds(GOOD_KERNEL, BEHIND)) == [
        Bound(kernel.TRACKED, 131_072),
        Bound(kernel.PORTS, 28_232),
    ]


@pytest.mark.parametrize(("reserved", "wrong"), [("", True), ("7999,8001-9000", True), ("7000-8000", False)])
def test_a_port_that_any_connection_may_take_is_found(reserved: str, wrong: bool) -> None:
    values = {**GOOD_KERNEL, kernel.PORTS: "1024 65535", kernel.RESERVED: reserved}

    assert faults(kernel.judge(values, PLAN)) == ([(kernel.RESERVED, Status.WARNING)] if wrong else [])


def test_the_kernel_is_read_from_files_and_what_it_lacks_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "net/core").mkdir(parents=True)
    (tmp_path / "net/core/somaxconn").write_text("128\n")

    assert kernel.read(tmp_path) == {"net.core.somaxconn": "128"}
    assert "fs.file-max" in kernel.read()


def test_the_file_of_sysctls_is_what_the_doctor_asks_for_and_each_line_has_a_reason() -> None:
    lines = (REPOSITORY / "deploy/sysctl.conf").read_text(encoding="utf-8").splitlines()
    values: dict[str, str] = {}
    for before, line in zip(["", *lines], lines, strict=False):
        if line and not line.startswith("#"):
            assert before.startswith("# ")
            name, _, value = line.partition(" = ")
            assert name not in values
            values[name] = value
    large = Plan(4, 100_000, 128, local_proxy=True)

    assert set(values) == set(kernel.NAMES)
    assert faults(kernel.judge(values, large)) == []
    assert large.connections == 400_000  # as its first lines say


def test_memory_is_compared_with_what_idle_connections_take() -> None:
    room = memory.Memory(available=300 * 10**6, worker=80 * 10**6)
    little = memory.Memory(available=200 * 10**6, worker=80 * 10**6)

    assert faults([memory.judge(room, Plan(2, 5_000, 8))]) == []
    assert faults([memory.judge(little, Plan(2, 5_000, 8))]) == [("memory", Status.WARNING)]
    assert "MAX_CONNECTIONS=1666" in memory.judge(little, Plan(2, 5_000, 8)).advice
    assert memory.bound(little, PLAN) == Bound("memory", 3_333)
    assert memory.bound(memory.Memory(1, 2), PLAN).limit == 0
    assert faults([memory.judge(None, PLAN)]) == [("memory", Status.WARNING)]


def test_the_memory_of_a_connection_is_the_measured_one() -> None:
    text = (REPOSITORY / "docs/performance.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"Switchboard, `manage.py serve` \| [\d.]+ \| ([\d.]+) \| [\d.]+ \|\n", text)

    assert 0.8 * memory.CONNECTION_BYTES <= float(row) * 1000 <= memory.CONNECTION_BYTES


def test_the_least_of_the_machine_and_its_control_groups_is_available(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:  8000 kB\n")
    assert memory.read(tmp_path / "nowhere") is None
    assert memory.read(tmp_path).available == 8_192_000  # type: ignore[union-attr]

    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/one.service\n")
    group = tmp_path / "sys/fs/cgroup/system.slice/one.service"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("1000\n")
    (group / "memory.max").write_text("max\n")
    assert memory.read(tmp_path).available == 8_192_000  # type: ignore[union-attr]
    (group / "memory.max").write_text("5000\n")
    assert memory.read(tmp_path).available == 4_000  # type: ignore[union-attr]


# --- the database -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"version": 13}, ("database", Status.ERROR)),
        ({"isolation": "serializable"}, ("database isolation", Status.ERROR)),
        ({"max_connections": 28}, ("database connections", Status.ERROR)),
        ({"max_connections": 54}, ("database connections", Status.WARNING)),
        ({"clock": -2.5}, ("database clock", Status.WARNING)),
    ],
)
def test_each_fault_of_postgresql_is_found(wrong: dict[str, Any], expected: tuple[str, Status]) -> None:
    assert faults(postgresql.judge(GOOD_POSTGRES._replace(**wrong), PLAN)) == [expected]


def test_a_good_postgresql_has_no_fault() -> None:
    assert faults(postgresql.judge(GOOD_POSTGRES, PLAN)) == []


def test_the_advice_of_a_small_postgresql_fits() -> None:
    reading = GOOD_POSTGRES._replace(max_connections=28)
    (advice,) = [one.advice for one in postgresql.judge(reading, PLAN) if one.status is Status.ERROR]

    assert "DATABASE_THREADS=7," in advice  # 2 workers of 7 + 5 are 24, of 25
    assert "to 29 or more" in advice  # 2 workers of 8 + 5 are 26, and 3 are reserved


@pytest.mark.parametrize(
    ("wrong", "plan", "expected"),
    [
        ({"journal": "delete"}, Plan(1, 10, 8), ("database journal", Status.ERROR)),
        ({"file_system": "nfs4"}, Plan(1, 10, 8), ("database file system", Status.ERROR)),
        ({}, PLAN, ("database", Status.WARNING)),
    ],
)
def test_each_fault_of_sqlite_is_found(
    wrong: dict[str, Any], plan: Plan, expected: tuple[str, Status]
) -> None:
    assert faults(sqlite.judge(GOOD_SQLITE._replace(**wrong), plan)) == [expected]
    assert faults(sqlite.judge(GOOD_SQLITE, Plan(1, 10, 8))) == []


def test_the_file_system_of_a_file_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "40 22 0:35 / /srv/my\\040data rw shared:2 - nfs4 host:/export rw\n"
        "41 22 0:36 / /srv rw - xfs /dev/sdb rw\n"
    )

    assert sqlite.file_system_of(Path("/srv/my data/one.sqlite3"), mounts) == "nfs4"
    assert sqlite.file_system_of(Path("/srv/one.sqlite3"), mounts) == "xfs"
    assert sqlite.file_system_of(Path("/srvone.sqlite3"), mounts) == "ext4"
    assert sqlite.file_system_of(Path("/one"), tmp_path / "none") == ""


def test_missing_migrations_are_named_up_to_three() -> None:
    assert faults([migrations.judge([])]) == []
    found = migrations.judge(["a.1", "a.2", "b.1", "b.2"])

    assert faults([found]) == [("migrations", Status.ERROR)]
    assert found.message == "4 are not applied: a.1, a.2, b.1, …"


# --- Redis ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"version": "5.0.14"}, ("redis", Status.ERROR)),
        ({"version": "6.2.1"}, ("redis", Status.WARNING)),
        ({"maxmemory": 10**9, "policy": "allkeys-lru"}, ("redis eviction", Status.WARNING)),
        ({"maxmemory": 10**9, "used": 9 * 10**8}, ("redis eviction", Status.WARNING)),
        ({"last_write_failed": True}, ("redis persistence", Status.ERROR)),
        ({"saves": False}, ("redis persistence", Status.WARNING)),
        ({"latency": 0.02}, ("redis latency", Status.WARNING)),
    ],
)
def test_each_fault_of_redis_is_found(wrong: dict[str, Any], expected: tuple[str, Status]) -> None:
    assert faults(redis_server.judge("redis", GOOD_REDIS._replace(**wrong))) == [expected]


@pytest.mark.parametrize(
    "right", [{}, {"saves": None}, {"saves": False, "appends": True}, {"maxmemory": 10**9}]
)
def test_a_good_redis_has_no_fault(right: dict[str, Any]) -> None:
    assert faults(redis_server.judge("redis", GOOD_REDIS._replace(**right))) == []


# --- proxies, certificates, files -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "host", "expected"),
    [
        (["10.0.0.0/33"], "0.0.0.0", [("proxies", Status.ERROR)]),
        ([], "127.0.0.1", [("proxies", Status.WARNING)]),
        ([], "::1", [("proxies", Status.WARNING)]),
        ([], "0.0.0.0", []),
        (["127.0.0.1", "unix"], "127.0.0.1", []),
    ],
)
def test_trusted_proxies_are_compared_with_the_address(
    trusted: list[str], host: str, expected: list[tuple[str, Status]]
) -> None:
    assert faults([proxies.judge_settings(trusted, host)]) == expected


@pytest.mark.parametrize(
    ("own", "seen", "trusted", "expected"),
    [
        ("198.51.100.1", "198.51.100.1", [], None),
        ("198.51.100.1", "198.51.100.1", ["10.0.0.1"], None),
        ("127.0.0.1", proxies.INVENTED, ["127.0.0.1"], None),
        ("127.0.0.1", "127.0.0.1", ["127.0.0.1"], None),
        ("198.51.100.1", proxies.INVENTED, ["10.0.0.0/8"], Status.ERROR),
        ("198.51.100.1", "10.0.0.1", [], Status.WARNING),
        ("127.0.0.1", "127.0.0.1", [], Status.WARNING),
        ("127.0.0.1", "", ["127.0.0.1"], Status.WARNING),
    ],
)
def test_the_address_that_the_server_saw_is_judged(
    own: str, seen: str, trusted: list[str], expected: Status | None
) -> None:
    found = faults([proxies.judge_seen(proxies.Asked(own, 401, seen), trusted)])

    assert found == ([] if expected is None else [("proxies client address", expected)])


@pytest.mark.parametrize(
    ("days", "refused", "expected"),
    [
        (15, "", []),
        (13, "", [Status.WARNING]),
        (-1, "", [Status.ERROR]),
        (90, "self-signed certificate", [Status.ERROR]),
        (1, "Hostname mismatch", [Status.ERROR, Status.WARNING]),
    ],
)
def test_certificates_are_judged_by_their_end_and_by_who_takes_them(
    days: int, refused: str, expected: list[Status]
) -> None:
    certificate = tls.Certificate(NOW + timedelta(days=days), refused)

    assert faults(tls.judge("tls", certificate, NOW)) == [("tls", status) for status in expected]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"writable": False}, ("VAR_DIR", Status.ERROR)),
        ({"mode": 0o755}, ("VAR_DIR", Status.ERROR)),
        ({"mode": 0o750, "readable": ()}, ("VAR_DIR", Status.WARNING)),
        ({"free": 10**7}, ("disk", Status.ERROR)),
        ({"free": 5 * 10**8}, ("disk", Status.WARNING)),
    ],
)
def test_each_fault_of_the_folder_is_found(wrong: dict[str, Any], expected: tuple[str, Status]) -> None:
    assert faults(files.judge(GOOD_FOLDER._replace(**wrong))) == [expected]
    assert faults(files.judge(GOOD_FOLDER)) == []
    assert faults(files.judge(None)) == [("VAR_DIR", Status.ERROR)]


def test_a_folder_is_read_with_the_files_that_others_may_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name, mode in (("secret_key", 0o600), ("switchboard.sqlite3", 0o644)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)

    folder = files.read(tmp_path)

    assert folder is not None
    assert folder[1:4] == (True, 0o755, ("switchboard.sqlite3",))
    assert folder.free > 0
    assert files.read(tmp_path / "none") is None


def test_an_unsafe_setting_is_a_warning() -> None:
    assert faults(safety.judge([Unsafe("DEBUG", "why", "advice")])) == [("setting DEBUG", Status.WARNING)]
    assert faults(safety.judge([])) == []


@pytest.mark.parametrize(
    ("findings", "code"),
    [([], 0), ([ok("a", "b")], 0), ([warning("a", "b", "c"), ok("a", "b")], 1), ([error("a", "b", "c")], 2)],
)
def test_the_worst_finding_is_the_exit_code(findings: list[Finding], code: int) -> None:
    assert Report(findings).exit_code == code


def test_the_example_of_the_document_has_lines_as_the_command_prints_them() -> None:
    text = (REPOSITORY / "docs/doctor.md").read_text(encoding="utf-8")
    example = text.partition("<!-- example -->\n```text\n")[2].partition("\n```\n<!-- /example -->")[0]
    checks, _, bounds = example.partition("\n\n")
    found = [_parsed(line) for line in checks.splitlines()]
    known = {
        *("start", "migrations", "tls", "proxies client address", "setting METRICS_OPEN"),
        *(one.name for one in kernel.judge(GOOD_KERNEL, PLAN)),
        *(one.name for one in postgresql.judge(GOOD_POSTGRES, PLAN)),
        *(one.name for one in redis_server.judge("redis", GOOD_REDIS)),
        *(one.name for one in files.judge(GOOD_FOLDER)),
        *("descriptors", "memory", "proxies"),
    }

    assert len(found) == 20
    assert {finding.name for finding in found} <= known
    assert len(faults(found)) == 5
    assert "\n".join([*map(_line, found), "", *bounds.splitlines()]) == example
    assert [int(line.split()[0].replace(",", "")) for line in bounds.splitlines()[1:]] == [
        28_232,
        4 * (20_000 - 108),
        400_000,
        1_921_377,
    ]


def _parsed(line: str) -> Finding:
    message, _, advice = line[9:].partition(" -> ")
    name, _, message = message.partition(": ")
    return Finding(name, Status(line[:9].strip()), message, advice)
