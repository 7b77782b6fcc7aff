"""Background jobs: commands that run between the calls of a session."""

TOOLS = ("shell_start", "shell_output", "shell_stop")
