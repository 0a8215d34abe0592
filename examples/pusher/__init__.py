"""A protocol that is not in the tree: Pusher Channels, for pusher-js and Laravel Echo."""
