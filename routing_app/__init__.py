"""The routing core and the four protocols that route through it: tokens, rooms, events, requests."""

__version__ = "0.1.0"
