"""The console: pages on which operators see everything live, and the socket that brings them the data."""
