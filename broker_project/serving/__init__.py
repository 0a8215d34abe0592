"""`manage.py serve`: checks before the start, and the processes that it starts."""
