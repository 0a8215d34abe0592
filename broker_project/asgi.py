"""The ASGI application: Django for HTTP, the protocols' sockets for WebSockets.

`daphne broker_project.asgi:application` and `uvicorn broker_project.asgi:application` serve all of it.
"""

from __future__ import annotations

import gc
import os

from django.core.asgi import get_asgi_application

import switchboard

# Next to nothing of what is imported is garbage: collections would be a fifth of the start.
gc.disable()

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "broker_project.settings")
application = switchboard.asgi(get_asgi_application(), whole_site=True)

# Loaded modules stay: a collection need not walk them while messages wait (60 ms or more at a time).
gc.freeze()
gc.enable()
