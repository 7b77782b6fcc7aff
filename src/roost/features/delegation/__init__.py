"""Delegation: tasks for other agents, each in a child session."""

TOOLS = ("task", "cancel_task", "list_agents", "message_agent")
