"""Snapshots of the private files: undo points, and their copy in the shared object store."""
