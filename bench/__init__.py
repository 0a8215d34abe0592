"""The benchmark: `make bench`. Measures and method: docs/performance.md."""
