"""The door for clients of AgentRuntime's (`agentd`) HTTP API."""
