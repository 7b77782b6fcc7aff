"""The agent inside a sandbox, and the host's end of the link to it."""
