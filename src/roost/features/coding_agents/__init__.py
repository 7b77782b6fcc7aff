"""Coding agents: other products' coding agents that work in a session, with Roost's models, gate and log."""
