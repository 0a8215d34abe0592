"""Access: hosts, origins, API keys and their revocation, seats, and the admission of a client."""
