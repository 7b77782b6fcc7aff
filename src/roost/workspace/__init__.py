"""Workspaces: a session's files."""
