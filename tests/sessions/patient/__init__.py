"""An app for a server that waits longer for what a slow machine is late with than customers would."""
