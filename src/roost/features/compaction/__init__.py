"""Compaction: keep a conversation inside the model's context window."""

TOOLS = ("read_history", "pin", "unpin")
