"""Snapshots within one home, to go back to: by the best means that its file system has."""
