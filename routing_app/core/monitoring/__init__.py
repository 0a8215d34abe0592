"""What each worker knows of itself for people who watch it, and how one worker gathers it from all."""
