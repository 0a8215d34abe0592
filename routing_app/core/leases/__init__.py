"""Presence of connections, and the leases of the workers that hold them."""
