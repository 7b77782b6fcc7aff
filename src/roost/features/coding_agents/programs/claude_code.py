"""Claude Code, by its headless mode."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from roost.features.coding_agents.program import Heard, Place, Start, text_of

_SCRIPT = """\
found=$(ls -t "$STATE"/config/projects/*/"$THREAD".jsonl 2>/dev/null | head -n 1)
if [ -n "$found" ]; then set -- --resume "$found"; else set -- --session-id "$THREAD"; fi
set -- -p --output-format stream-json --verbose --permission-mode bypassPermissions --setting-sources "" \\
  --strict-mcp-config --append-system-prompt "$INSTRUCTIONS" "$@"
[ -n "$PICTURES" ] || exec "$PROGRAM" "$@" < "$PROMPT"
cat "$PROMPT" | "$PROGRAM" "$@" --input-format stream-json
"""
_QUIET = (
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY",
    "DISABLE_TELEMETRY",
    "DISABLE_AUTOUPDATER",
    "DISABLE_ERROR_REPORTING",
)
_LONGEST = str(24 * 3600 * 1000)
_PATIENT = {
    "API_TIMEOUT_MS": _LONGEST,
    "API_FORCE_IDLE_TIMEOUT": "0",
    "CLAUDE_STREAM_IDLE_TIMEOUT_MS": _LONGEST,
    "CLAUDE_ENABLE_STREAM_WATCHDOG": "0",
    "CLAUDE_ENABLE_BYTE_WATCHDOG": "0",
}
"""A call may wait for a person. Pings do not count for its watchdog, which gives a stream five minutes."""


class ClaudeCode:
    """It asks nobody: each of its calls waits at the gateway. It resumes a conversation by the path of its file, which
    it also finds in a fork, whose workspace lies elsewhere. Settings of the workspace do not count: they may run
    commands of their own. Pictures come with a prompt in JSON, through a pipe: it takes a file of it for empty."""

    name, title, command, node, names = "claude-code", "Claude Code", "claude", False, True
    install = "npm install -g @anthropic-ai/claude-code"
    kept = "config/projects/*/{thread}.jsonl"
    shows = True

    def start(self, place: Place) -> Start:
        return Start(
            _SCRIPT,
            {
                "CLAUDE_CONFIG_DIR": f"{place.folder}/config",
                "ANTHROPIC_BASE_URL": place.gateway,
                "ANTHROPIC_API_KEY": place.key,
                "ANTHROPIC_MODEL": place.model,
                "IS_SANDBOX": "1",
                **_PATIENT,
                **dict.fromkeys(_QUIET, "1"),
            },
            prompt=_said(place) if place.pictures else None,
        )

    def heard(self, line: Mapping[str, Any]) -> Heard:
        if line.get("type") != "result":
            return Heard()
        if line.get("is_error"):
            return Heard(failure=text_of(line.get("result")) or text_of(line.get("subtype")) or "it failed", done=True)
        return Heard(done=True)


def _said(place: Place) -> str:
    """Return the prompt and its pictures as a line of Claude Code's own input."""
    shown = [
        {"type": "image", "source": {"type": "base64", "media_type": one.media_type, "data": one.data}}
        for one in place.pictures
    ]
    message = {"role": "user", "content": [*shown, {"type": "text", "text": place.text}]}
    return json.dumps({"type": "user", "message": message, "parent_tool_use_id": None, "session_id": ""}) + "\n"


PROGRAM = ClaudeCode()
