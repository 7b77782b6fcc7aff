"""Checkpoints, and rollback to an earlier position."""
