"""The door for clients of the Model Context Protocol (MCP)."""
