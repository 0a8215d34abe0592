"""The audit log, and the id of a request in it."""
