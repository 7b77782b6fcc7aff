"""Compaction: keep a conversation inside the model's context window."""
