"""Memory: recall at the start of a turn, changes by tools, consolidation."""
