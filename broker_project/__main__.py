"""Switchboard's command line: Django's own commands and ours (`serve`, `import_tokens`, ...).

`manage.py`, the command `switchboard-server` of the installed package and `python -m broker_project` are one.
"""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run one management command; a wrong setting is one line on stderr and exit code 1."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "broker_project.settings")
    gc.disable()  # next to nothing of what is imported is garbage
    import django
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        django.setup()
        gc.enable()
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"switchboard: {error}")


if __name__ == "__main__":
    main()
