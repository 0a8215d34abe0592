"""Webhooks: events, the outbox that they are written into, and the worker's part that delivers them."""
