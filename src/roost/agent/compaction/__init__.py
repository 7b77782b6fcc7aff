"""Keeping a conversation inside the model's window: what it takes, what leaves it, and what stands in its place."""
