"""The ASGI application: Django for HTTP, the protocols' sockets for WebSockets.

`daphne broker_project.asgi:application` and `uvicorn broker_project.asgi:application` serve all of it.
"""

from __future__ import annotations

import gc
import os

from django.conf import settings
from django.core.asgi import get_asgi_application

# Next to nothing of what is imported is garbage: collections would be a fifth of the start.
gc.disable()

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "broker_project.settings")
_http = get_asgi_application()

# Consumers import models, so the table can be read only after Django is set up.
from broker_project import protocols  # noqa: E402
from broker_project.health import Health  # noqa: E402
from broker_project.routing import Hosts, Polling, Switchboard  # noqa: E402
from routing_app.core.lifespan import Lifespan  # noqa: E402
from routing_app.core.rest.bodies import Bodies  # noqa: E402
from routing_app.core.rest.compression import Gzip  # noqa: E402
from routing_app.core.rest.fast import FastViews  # noqa: E402

_sockets = protocols.sockets()
_django = Bodies(FastViews(_http, "broker_project.fast_urls"))
_http_paths = Health(Hosts(Polling(_django, protocols.endpoints(), _sockets)))
_answers = Gzip(_http_paths) if settings.COMPRESSION else _http_paths
application = Lifespan(Switchboard(http=_answers, sockets=_sockets))

# Loaded modules stay: a collection need not walk them while messages wait (60 ms or more at a time).
gc.freeze()
gc.enable()
