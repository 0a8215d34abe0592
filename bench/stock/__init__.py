"""A Channels consumer as the tutorial writes it: what Switchboard is measured against."""
