"""Agents: the definition, the fold of a log into a state, and the loop."""
