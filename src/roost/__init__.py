"""Roost: a runtime for AI agents."""
