"""An attack on a cluster, and the proof of what it promises: `make faults`.

Clients of all five protocols note what they did and saw in one history, while faults happen to the servers
(`nemeses`). Afterwards checkers, which know nothing but the history, look for a promise that was broken.
"""
