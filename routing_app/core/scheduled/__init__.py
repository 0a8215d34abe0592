"""Messages that are published later: taken in, kept in a table, moved to the outbox when their time comes."""
