"""Delivery to connections: the hub, outboxes, writers, frames."""
