"""Sessions as files: Roost's own JSONL, the logs of Claude Code and of Codex, and text for people.

A foreign log is read into `items`, of which `composing` makes events; `decomposing` makes items of events, of which a
foreign log is written. `docs/reference/exchange-formats.md` has the formats.
"""
