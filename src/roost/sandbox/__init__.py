"""Sandboxes: isolation levels behind one contract."""
