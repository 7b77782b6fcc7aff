"""Credentials of vaults: sealed in the store, used for MCP servers and hosts, never shown."""
