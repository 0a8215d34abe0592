"""The base of every protocol: addresses, the hub, the outbox, presence, limits and the base consumer.

The way of a message: `consumer` -> a protocol's `service` -> `hub.publish` -> local `outbox`es at once, and
one envelope per loop turn and address over the channel layer to every other process that has the address.
"""
