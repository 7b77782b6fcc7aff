"""The door for other agents, by A2A 1.0 (Agent2Agent)."""
