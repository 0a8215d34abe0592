"""Our Daphne: the WebSocket side rewritten for drain, bounded memory and fan-out, plus workers and TLS."""
