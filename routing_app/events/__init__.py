"""The events protocol: the Jac Cloud websocket, with walkers written in Python."""
