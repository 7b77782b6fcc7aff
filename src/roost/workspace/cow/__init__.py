"""Snapshots within one home, for rollbacks, by the best method of its file system."""
