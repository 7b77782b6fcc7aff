"""A file server for 9P2000.L. Runs in its own namespace, with only Python's standard library."""
