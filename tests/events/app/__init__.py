"""A Django app with walkers for the tests; EXTRA_APPS installs it into the servers that they start."""
