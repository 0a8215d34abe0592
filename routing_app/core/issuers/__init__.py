"""Issuers of access tokens: their rows, and the check of a token."""
