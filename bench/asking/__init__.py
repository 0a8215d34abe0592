"""The app whose handler answers the benchmark's requests."""
