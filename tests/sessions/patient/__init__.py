"""An app for a server whose creates may wait long for their turn at an account."""
