"""The door for clients of Anthropic's Managed Agents API: agents, environments, sessions and what belongs to them."""
