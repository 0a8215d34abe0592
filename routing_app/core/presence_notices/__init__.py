"""Presence notices: subscribers of an address are told who else comes and goes there, on every worker."""
