"""Tools: what an agent can do, and the built-in set."""
