"""Remote agents: agents of others, reached by A2A, that an agent can ask."""
