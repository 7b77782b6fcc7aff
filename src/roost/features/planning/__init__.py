"""The plan of a long task."""
