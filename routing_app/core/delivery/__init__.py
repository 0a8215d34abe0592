"""What is written to a connection, and to whom: the hub, outboxes, writers, frames."""
