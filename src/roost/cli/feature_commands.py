"""The commands that features have, by section of the help: their feature, and a line.

Made by `python -m tools.sync_client`; do not edit.
"""

FEATURE_COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "This machine": {
        "schedule": ("schedules", "Send messages to agents at set times."),
        "memory": ("memory", "Show and change what agents remember."),
        "costs": ("budgets", "Show the costs of a month: limits, users, agents, models."),
    },
    "Sessions": {
        "compact": ("compaction", "Make the context of sessions smaller."),
        "export": ("exchange", "Write a session to a file; by default the newest session."),
        "import": ("exchange", "Make a session from a file that Roost, Claude Code or Codex wrote."),
    },
}
