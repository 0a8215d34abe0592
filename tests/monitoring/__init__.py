"""Tests of what workers keep about themselves, and of how one gathers it from all."""
