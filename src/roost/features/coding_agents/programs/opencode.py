"""opencode, by `opencode run`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from roost.features.coding_agents.program import Heard, Place, Start, text_of

_SCRIPT = """\
place="$STATE/data/place"
if [ -n "$THREAD" ] && [ "$(cat "$place" 2>/dev/null)" != "$WORKSPACE" ]; then
  quoted=$(printf %s "$WORKSPACE" | sed "s/'/''/g")
  "$PROGRAM" db "update session set directory = '$quoted'" > /dev/null || exit 1
fi
printf %s "$WORKSPACE" > "$place"
if [ -n "$THREAD" ]; then set -- --session "$THREAD"; fi
for picture in $PICTURES; do set -- "$@" --file="$FILES/$picture"; done
exec "$PROGRAM" run --pure --format json "$@" < "$PROMPT"
"""
_TAKES: dict[str, Any] = {"attachment": True, "modalities": {"input": ["text", "image"], "output": ["text"]}}
_FOLDERS = {"XDG_DATA_HOME": "data", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache", "XDG_STATE_HOME": "state"}


class OpenCode:
    """It names its conversations itself. Settings and plugins of the workspace do not count: they may run code. Its
    database says where a conversation was held, which is elsewhere in a fork."""

    name, title, command, node, names = "opencode", "opencode", "opencode", True, False
    install = "npm install -g opencode-ai"
    kept = "data/opencode/opencode.db"
    shows = True

    def start(self, place: Place) -> Start:
        model = {"name": place.model, "limit": {"context": 200_000, "output": 32_000}, **_TAKES}
        provider = {
            "npm": "@ai-sdk/openai-compatible",
            "name": "roost",
            "options": {"baseURL": f"{place.gateway}/v1", "apiKey": place.key, "timeout": False},
            "models": {"model": model},
        }
        config = {
            "autoupdate": False,
            "share": "disabled",
            "model": "roost/model",
            "small_model": "roost/model",
            "permission": {"*": "allow"},
            "instructions": [f"{place.folder}/instructions.md"],
            "provider": {"roost": provider},
        }
        folders = {name: f"{place.folder}/{folder}" for name, folder in _FOLDERS.items()}
        quiet = {f"OPENCODE_DISABLE_{name}": "1" for name in ("AUTOUPDATE", "MODELS_FETCH", "PROJECT_CONFIG")}
        environment = {**folders, **quiet, "OPENCODE_CONFIG_CONTENT": json.dumps(config)}
        return Start(_SCRIPT, environment, {"instructions.md": place.instructions, "data/.keep": ""})

    def heard(self, line: Mapping[str, Any]) -> Heard:
        if line.get("type") == "error":
            return Heard(failure=text_of(json.dumps(line.get("error"))))
        return Heard(thread=text_of(line.get("sessionID")))


PROGRAM = OpenCode()
