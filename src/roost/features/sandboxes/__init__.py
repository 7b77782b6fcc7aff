"""A session's sandbox, as people and programs see it: start, status, commands, suspend, resume, stop."""
