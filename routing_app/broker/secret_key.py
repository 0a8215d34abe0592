"""Django's secret where none is configured."""

from __future__ import annotations

from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key


def kept_in(folder: Path) -> str:
    """The secret that a folder keeps, made on first use. Raises ImproperlyConfigured."""
    path = folder / "secret_key"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="utf-8") as file:
                path.chmod(0o600)
                file.write(get_random_secret_key())
        except FileExistsError:
            pass
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ImproperlyConfigured(f"SECRET_KEY: not set, and {path} cannot be kept: {error}") from None
