"""The other workers: what is carried to them, asked of them, and known of them."""
