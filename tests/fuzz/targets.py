"""Every target by its name: `fuzz_<name>(data)` of three modules. A target returns, or there is a fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.fuzz import settings, transports, wires

Target = Callable[[bytes], None]
TARGETS: Final[dict[str, Target]] = {
    name.removeprefix("fuzz_"): function
    for module in (wires, transports, settings)
    for name, function in vars(module).items()
    if name.startswith("fuzz_")
}
CORPUS: Final = Path(__file__).parent / "corpus"
"""One folder for each target, with inputs that reach code which no other does, and those that once failed."""
LONGEST: Final = 4096
"""Bytes of an input that the fuzzer makes."""


def corpus(name: str) -> list[bytes]:
    """The inputs of a target that are kept."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
