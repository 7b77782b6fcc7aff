"""Terminals: programs on a pseudo-terminal in a session's sandbox, which people and the agent share."""

TOOLS = ("terminal_start", "terminal_send", "terminal_read", "terminal_wait", "terminal_end")
