"""Policy: what agents may do. One gate decides on every tool call."""
