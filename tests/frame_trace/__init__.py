"""Frames of connections, followed while somebody watches."""
