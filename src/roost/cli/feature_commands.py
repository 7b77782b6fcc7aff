"""The commands that features have, by section of the help: their feature, and a line.

Made by `python -m tools.sync_client`; do not edit.
"""

FEATURE_COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Sessions": {
        "approve": ("approvals", "Answer a tool call that waits for a person, in a session or a descendant of it."),
        "compact": ("compaction", "Make the context of sessions smaller."),
        "export": ("exchange", "Write a session to a file; by default the newest session."),
        "import": ("exchange", "Make a session from a file that Roost, Claude Code or Codex wrote."),
    },
    "This machine": {
        "schedule": ("schedules", "Send messages to agents at set times."),
        "memory": ("memory", "Show and change what agents remember."),
        "costs": ("budgets", "Show the costs of a month: limits, users, agents, models."),
    },
}
