"""Sessions as files: Roost's own JSONL, the logs of Claude Code and of Codex, and text for people.

A foreign log is read into items (`conversation_items`), which `items_to_events` turns into events. `events_to_items`
goes the other way to write one. `docs/reference/exchange-formats.md` has the formats.
"""
