"""The events line: the Jac Cloud websocket, with walkers written in Python."""
