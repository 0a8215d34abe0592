"""Rate limits: how often clients may do something, counted once for all workers."""
