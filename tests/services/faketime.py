"""libfaketime: the wall clock of a process that follows a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_FOLDERS: Final = ("/usr/lib", "/usr/lib64", "/usr/local/lib")

SEEN_SECONDS: Final = 2.0
"""After so long every process has read what the file says."""


def find_faketime() -> Path | None:
    """The library for processes with several threads, or None."""
    found = (path for folder in _FOLDERS for path in Path(folder).glob("**/faketime/libfaketimeMT.so.1"))
    return next(found, None)


def faked_by(file: Path) -> dict[str, str]:
    """Environment of a process whose wall clock is off by what the file says (`+3600`), SEEN_SECONDS later.

    The monotonic clock goes on, as it does where an operator or NTP sets a clock. Raises FileNotFoundError
    where the library is not installed.
    """
    library = find_faketime()
    if library is None:
        raise FileNotFoundError("libfaketime is not installed")
    file.write_text("+0")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",  # without, each look at the clock reads the file: 40 µs
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Without it every wait for Python's lock ends at once, and idle threads spin.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }
