"""The Dockerfile, read into stages of instructions; only the forms that ours has, and an error for others."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.services.databases import REPOSITORY

DOCKERFILE: Final = REPOSITORY / "Dockerfile"
KNOWN: Final = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "RUN", "STOPSIGNAL", "USER",
    "VOLUME", "WORKDIR",
}  # fmt: skip


@dataclass
class Stage:
    """What stands between two FROM: instructions in their order, as (name, rest)."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        """What follows each instruction of that name."""
        return [rest for name, rest in self.steps if name == instruction]

    def last(self, instruction: str) -> str:
        """What follows the last one; the others do not count in an image."""
        return self.all(instruction)[-1]

    def pairs(self, instruction: str) -> dict[str, str]:
        """The NAME=value of all ENV or LABEL."""
        words = [word for rest in self.all(instruction) for word in shlex.split(rest)]
        return dict(word.split("=", 1) for word in words)


def stages(path: Path = DOCKERFILE) -> list[Stage]:
    """All stages; the last one is the image. Raises ValueError for a line that is not understood."""
    arguments: dict[str, str] = {}
    found: list[Stage] = []
    for line in _lines(path.read_text(encoding="utf-8")):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            base, _, given = rest.partition(" AS ")
            found.append(Stage(_filled(base, arguments), given))
        elif name not in KNOWN:
            raise ValueError(f"not an instruction that is known here: {line}")
        elif found:
            found[-1].steps.append((name, rest.strip()))
        else:
            key, _, value = rest.partition("=")
            arguments[key] = value
    return found


def words(value: str) -> list[str]:
    """An instruction in exec form. Raises ValueError where it is in shell form."""
    if not value.startswith("["):
        raise ValueError(f"not in exec form: {value}")
    return [str(word) for word in json.loads(value)]


def health_command(stage: Stage) -> list[str]:
    """The command of HEALTHCHECK."""
    return words(stage.last("HEALTHCHECK").partition("CMD ")[2])


def options(value: str) -> tuple[dict[str, str], str]:
    """The `--name=value` that an instruction begins with, and what follows them."""
    given = {}
    while match := re.match(r"--([a-z-]+)=(\S+)\s+", value):
        given[match[1]] = match[2]
        value = value[match.end() :]
    return given, value


def _lines(text: str) -> list[str]:
    """Instructions, each on one line, without comments."""
    kept = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    return [line.strip() for line in kept.replace("\\\n", "").splitlines()]


def _filled(value: str, arguments: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], value)
