"""Client of Switchboard's requests protocol: the Connection object of `wyre` for Python.

async with await connect("ws://localhost:8000/connection", key="sb_...") as connection:
    print(await connection.request({"type": "whoami"}))
"""

from switchboard_client.connecting import connect
from switchboard_client.connection import Connection
from switchboard_client.context import Context
from switchboard_client.deliveries import Delivery, Position, Presence
from switchboard_client.dialing import Refused
from switchboard_client.errors import Answered, ConnectionClosed, RequestError, RequestsFailure
from switchboard_client.pending import Request
from switchboard_client.sync import SyncConnection, connect_sync
from switchboard_client.tokens import NoToken
from switchboard_client.wire import Answer

__all__ = [
    "Answer",
    "Answered",
    "Connection",
    "ConnectionClosed",
    "Context",
    "Delivery",
    "NoToken",
    "Position",
    "Presence",
    "Refused",
    "Request",
    "RequestError",
    "RequestsFailure",
    "SyncConnection",
    "connect",
    "connect_sync",
]
__version__ = "0.1.0"
