"""Apps that show how Switchboard is built upon; EXTRA_APPS installs them."""
