"""A server of files in 9P2000.L. Runs in a namespace of its own, with nothing but Python's own library."""
