"""The rooms line: the 2-IMMERSE websocket-service, over every generation of Socket.IO and plain sockets."""
