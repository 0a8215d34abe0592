"""Rows that a new database begins with."""
