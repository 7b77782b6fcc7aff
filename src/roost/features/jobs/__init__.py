"""Background jobs: commands that run between the calls of a session."""
