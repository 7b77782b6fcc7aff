"""The plan of a long task."""

TOOLS = ("plan",)
