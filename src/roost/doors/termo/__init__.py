"""The door for clients of termo-agent's HTTP API."""
