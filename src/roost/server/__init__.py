"""The HTTP API and the daemon that serves it."""
