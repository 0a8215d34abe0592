"""Switchboard's command line: Django's own commands and ours (`serve`, `import_tokens`, ...).

`manage.py`, the command `switchboard-server` of the installed package and `python -m broker_project` are one.
"""

from __future__ import annotations

import gc
import os
import sys

from broker_project.doctor import report
from routing_app import __version__


def main() -> None:
    """Run one management command; a wrong setting is one line on stderr and exit code 1, or 2 of `doctor`,
    where 1 stands for warnings."""
    if sys.argv[1:] == ["--version"]:  # Django would say its own
        sys.stdout.write(f"switchboard {__version__}\n")
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "broker_project.settings")
    gc.disable()  # next to nothing of what is imported is garbage
    import django
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        django.setup()
        gc.enable()
        from routing_app.core.audit import commands

        commands.run(sys.argv, lambda: execute_from_command_line(sys.argv))
    except ImproperlyConfigured as error:
        sys.stderr.write(f"switchboard: {error}\n")
        if sys.argv[1:2] != ["doctor"]:
            sys.exit(1)
        if "--json" in sys.argv:
            sys.stdout.write(f"{report.unreadable(str(error)).json}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
