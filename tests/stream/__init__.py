"""Tests of the stream protocol."""
