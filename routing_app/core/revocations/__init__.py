"""Revocations: names that are let in no more, on every protocol and worker.

`names` are the names that clients carry, `index` holds the revoked ones in memory, `known` keeps it up to
date in a worker and closes connections, `service` has the rules, `lookup` asks the database.
"""
