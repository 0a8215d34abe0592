"""Streams: what was published to an address, kept in order, so that a client can have what it missed.

`rules` says which addresses have history; `store` is what `memory` and `redis` do; `streams` stands between
hub, relay and store; `sequence` has each process deliver in the order of offsets.
"""
