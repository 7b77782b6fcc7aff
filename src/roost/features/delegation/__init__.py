"""Delegation: tasks for other agents, each in a child session."""
