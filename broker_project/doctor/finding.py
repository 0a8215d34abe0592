"""What one check has found, and how many connections something allows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what is there, and, unless it is ok, what to do. Never a password or a key."""

    name: str
    status: Status
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Bound:
    """The number of connections that all workers of this machine may hold because of one thing."""

    name: str
    limit: int


def ok(name: str, message: str) -> Finding:
    """All well."""
    return Finding(name, Status.OK, message)


def warning(name: str, message: str, advice: str) -> Finding:
    """It works, but not as far or as safely as it could."""
    return Finding(name, Status.WARNING, message, advice)


def error(name: str, message: str, advice: str) -> Finding:
    """It does not work, or will not for long."""
    return Finding(name, Status.ERROR, message, advice)


def one_line(problem: object) -> str:
    """The words of an exception, without line ends."""
    return " ".join(str(problem).split()) or type(problem).__name__
