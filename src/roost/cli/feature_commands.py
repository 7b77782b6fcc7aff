"""The commands that features have, by section of the help: their feature, and a line.

Made by `python -m tools.sync_client`; do not edit.
"""

FEATURE_COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Sessions": {
        "approve": ("approvals", "Answer a tool call that waits for a person, in a session or a descendant of it."),
        "attach": ("terminals", "Follow a session live, text as it is written; by default the newest session."),
        "resume": ("checkpoints", "Resume paused or failed sessions, also from a checkpoint."),
        "checkpoint": ("checkpoints", "Save a session as a checkpoint, for a later rollback or fork."),
        "checkpoints": ("checkpoints", "List a session's checkpoints, newest first; by default the newest session's."),
        "diff": ("checkpoints", "Show what changed in a session's files since a checkpoint, or between two."),
        "rollback": (
            "checkpoints",
            "Roll a session back to a checkpoint: its conversation, its memory and its private files.",
        ),
        "fork": ("checkpoints", "Make a new session that begins like another one, and continues independently."),
        "files": ("files", "Find, read, write, put back and share files, also in your own words."),
        "compact": ("compaction", "Make the context of sessions smaller."),
        "outcome": ("outcomes", "Give a session a goal, or show the one that it has."),
        "export": ("exchange", "Write a session to a file; by default the newest session."),
        "import": ("exchange", "Make a session from a file that Roost, Claude Code or Codex wrote."),
        "replay": ("replay", "Run recorded sessions again, as tests."),
    },
    "This machine": {
        "policy": ("rules", "Show what agents may do, and the standing rules of people."),
        "terminal": ("terminals", "Show and end the terminals of a session."),
        "schedule": ("schedules", "Send messages to agents at set times."),
        "memory": ("memory", "Show and change what agents remember."),
        "hub": ("packages", "Find, install, update and publish packages of skills and agents."),
        "skills": ("skills", "Show, accept and check skills."),
        "account": ("accounts", "Let others use this installation, each with sessions of their own."),
        "token": ("accounts", "Make and revoke the tokens of accounts."),
        "console": ("console", "Open the web console of the daemon, signed in."),
        "costs": ("budgets", "Show the costs of a month: limits, users, agents, models."),
        "openapi": ("openapi", "Look at the documents of HTTP APIs, whose operations agents call."),
        "bot": ("bots", "Let people write with agents where they are, such as Telegram."),
    },
    "Talk to an agent": {"mcp": ("mcp", "Offer agents to clients of MCP, or set up MCP servers for agents.")},
}
