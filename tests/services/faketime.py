"""libfaketime: the wall clock of a process that follows a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_FOLDERS: Final = ("/usr/lib", "/usr/lib64", "/usr/local/lib")


def find_faketime() -> Path | None:
    """The library for processes with several threads, or None."""
    found = (path for folder in _FOLDERS for path in Path(folder).glob("**/faketime/libfaketimeMT.so.1"))
    return next(found, None)


def faked_by(file: Path) -> dict[str, str]:
    """Environment of a process whose wall clock is off by what the file says (`+3600`), from now on.

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
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Without it every wait for Python's lock ends at once, and idle threads spin.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }
