"""Firecracker: its process, its API, its streams into a machine."""
