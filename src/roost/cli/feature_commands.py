"""The commands that features have, by section of the help: their feature, and a line.

Made by `python -m tools.sync_client`; do not edit.
"""

FEATURE_COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Sessions": {
        "approve": ("approvals", "Answer a tool call that waits for a person, in a session or a descendant of it."),
        "resume": ("checkpoints", "Resume paused or failed sessions, also from a checkpoint."),
        "checkpoint": ("checkpoints", "Save a session as a checkpoint, for a later rollback or fork."),
        "checkpoints": ("checkpoints", "List a session's checkpoints, newest first; by default the newest session's."),
        "diff": ("checkpoints", "Show what changed in a session's files since a checkpoint, or between two."),
        "rollback": (
            "checkpoints",
            "Roll a session back to a checkpoint: its conversation, its memory and its private files.",
        ),
        "fork": ("checkpoints", "Make a new session that begins like another one, and continues independently."),
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
