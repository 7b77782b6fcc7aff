"""The commands that features have, by section of the help: their feature, and a line.

Made by `python -m tools.sync_client`; do not edit.
"""

FEATURE_COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "This machine": {"schedule": ("schedules", "Send messages to agents at set times.")}
}
