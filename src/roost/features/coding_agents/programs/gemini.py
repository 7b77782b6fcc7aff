"""Gemini CLI, by its headless mode."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from roost.features.coding_agents.program import SMALL_NODE, Heard, Place, Start, text_of

_PROJECT = "workspace"
"""What Gemini CLI shall call the folder that it works in: it keeps the conversations of each by such a name."""
_SCRIPT = f"""\
found=$(ls "$STATE/home/.gemini/tmp/{_PROJECT}/chats/"session-*-"${{THREAD%%-*}}".jsonl 2>/dev/null | head -n 1)
if [ -n "$found" ]; then set -- --resume "$THREAD"; else set -- --session-id "$THREAD"; fi
export GEMINI_CLI_TRUST_WORKSPACE=true
if [ -e "$WORKSPACE/.gemini" ] || [ -L "$WORKSPACE/.gemini" ]; then GEMINI_CLI_TRUST_WORKSPACE=false; fi
exec "$PROGRAM" --yolo --policy "$STATE/policy.toml" --extensions none --allowed-mcp-server-names none \\
  --output-format stream-json --model "$MODEL" "$@" < "$PROMPT"
"""
_SETTINGS = {
    "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "tools": {"useRipgrep": False},
    "hooksConfig": {"enabled": False},
    "advanced": {"ignoreLocalEnv": True},
}
_POLICY = """\
[[rule]]
toolName = "*"
decision = "allow"
priority = 999
allowRedirection = true
"""


class Gemini:
    """It asks nobody: each of its calls waits at the gateway. A workspace with settings for it is one that it shall not
    trust, since they may run code; it then refuses some commands by itself. It knows its conversations by the folder
    that it works in, which is elsewhere in a fork: so it is told a name for it."""

    name, title, command, node, names = "gemini", "Gemini CLI", "gemini", True, True
    install = "npm install -g @google/gemini-cli"
    kept = f"home/.gemini/tmp/{_PROJECT}/chats/session-*-{{thread:.8}}.jsonl"
    shows = False

    def start(self, place: Place) -> Start:
        environment = {
            **SMALL_NODE,
            "GEMINI_API_KEY": place.key,
            "GOOGLE_GEMINI_BASE_URL": place.gateway,
            "GEMINI_CLI_NO_RELAUNCH": "true",
            "MODEL": place.model,
        }
        files = {
            "policy.toml": _POLICY,
            "home/.gemini/settings.json": json.dumps(_SETTINGS),
            "home/.gemini/GEMINI.md": place.instructions,
            "home/.gemini/projects.json": json.dumps({"projects": {place.workspace: _PROJECT}}),
            f"home/.gemini/tmp/{_PROJECT}/.project_root": place.workspace,
            f"home/.gemini/history/{_PROJECT}/.project_root": place.workspace,
        }
        return Start(_SCRIPT, environment, files)

    def heard(self, line: Mapping[str, Any]) -> Heard:
        match line.get("type"):
            case "result" if line.get("status") == "error":
                return Heard(failure=text_of(json.dumps(line.get("error"))), done=True)
            case "result":
                return Heard(done=True)
            case _:
                return Heard()


PROGRAM = Gemini()
