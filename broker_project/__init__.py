"""The Django project: joins what the apps offer and adds nothing of its own to a protocol."""
