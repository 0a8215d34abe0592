"""Access: hosts, origins, API keys and their revocation, limits, and the admission of a client."""
