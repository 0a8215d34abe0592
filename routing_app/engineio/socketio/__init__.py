"""Socket.IO on Engine.IO: protocol 5 (clients 3.x, 4.x) on version 4, older ones (1.x, 2.x) on version 3.

`wire` is the pure codec, `client.Client` one session with its namespaces, `socket.Socket` one of these.
"""
