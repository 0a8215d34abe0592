"""Socket.IO on Engine.IO: protocol 5 (clients 3.x, 4.x) on version 4, older ones (1.x, 2.x) on version 3.

`wire` is the pure codec, `client.SocketClient` one session with its namespaces, `socket.NamespaceSocket`
one of these. `recovery.Recovery` keeps those whose client may come back: `recoverable` is such a socket,
`keeping` its writer, `kept` the events that it keeps; `elsewhere` serves clients that come back to another
worker.
"""
