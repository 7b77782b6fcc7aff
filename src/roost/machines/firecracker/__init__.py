"""Firecracker from outside: its program, its API, its way of making a stream into a machine."""
