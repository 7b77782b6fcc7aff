"""Memory: recall at the start of a turn, changes by tools, consolidation."""

TOOLS = ("remember", "recall", "update_memory", "forget")
