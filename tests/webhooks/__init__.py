"""Webhooks: what is sent, when, by whom, and where it may go."""
