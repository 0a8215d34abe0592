"""Frame traces: the frames of some connections, in and out, noted while somebody watches them."""
