"""JSON Web Tokens: keys, key sets that are fetched, signatures and claims (RFC 7515, 7517, 7519)."""
