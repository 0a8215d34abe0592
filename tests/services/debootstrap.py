"""The program that fills a folder with Debian."""

from __future__ import annotations

import os
import shutil


def find_debootstrap() -> str | None:
    """The program, or None. Not everybody's PATH has the folder that Debian puts it in."""
    return shutil.which("debootstrap", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
