"""Upgrades: a session moves to another version of its agent."""
