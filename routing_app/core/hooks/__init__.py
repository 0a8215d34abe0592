"""Hooks: a backend is asked before a step is taken, and may refuse it, change it, or answer a request."""
