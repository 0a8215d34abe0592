"""The rooms protocol: 2-IMMERSE's websocket-service, over all generations of Socket.IO and plain sockets."""
