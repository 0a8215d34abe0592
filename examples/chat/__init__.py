"""The chat of the Jac Cloud documentation, in Python."""
