"""Engine.IO 3 and 4, the transport under Socket.IO: polling, WebSocket, and the upgrade between them.

`wire` is the pure codec. A `session.EngineSession` is one client, over either transport;
`endpoint.Endpoint` is the ASGI application that makes sessions and finds them again, `polling` and
`websocket` its two transports. `remote_sessions` and `bridge` reach sessions of other workers. `socketio`
stands on top.
"""
