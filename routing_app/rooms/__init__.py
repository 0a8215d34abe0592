"""The rooms line: the 2-IMMERSE websocket-service, over Socket.IO of every generation and over plain sockets."""
