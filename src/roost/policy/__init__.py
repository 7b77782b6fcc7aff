"""Policy: who may do what. One gate for every tool call."""
