"""pi, by its print mode."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from roost.features.coding_agents.program import SMALL_NODE, Heard, Place, Start, text_of

_SCRIPT = """\
file="$STATE/sessions/$THREAD.jsonl"
place=$(printf %s "$WORKSPACE" | sed 's/[\\\\&|]/\\\\&/g')
[ ! -s "$file" ] || sed -i '1s|"cwd":"[^"]*"|"cwd":"'"$place"'"|' "$file"
set --
for picture in $PICTURES; do set -- "$@" "@$FILES/$picture"; done
exec "$PROGRAM" -p --mode json --provider roost --model model --session "$file" --no-extensions --no-approve \\
  --append-system-prompt "$INSTRUCTIONS" "$@" < "$PROMPT"
"""


class Pi:
    """Extensions and settings of the workspace do not count. Its conversation is a file that Roost names. It says where
    the conversation was held, which is elsewhere in a fork."""

    name, title, command, node, names = "pi", "pi", "pi", True, True
    install = "npm install -g @earendil-works/pi-coding-agent"
    kept = "sessions/{thread}.jsonl"
    shows = True

    def start(self, place: Place) -> Start:
        free = {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0}
        model = {"id": "model", "name": place.model, "reasoning": False, "input": ["text", "image"], "cost": free}
        model |= {"contextWindow": 200_000, "maxTokens": 32_000}
        provider = {"baseUrl": f"{place.gateway}/v1", "api": "openai-completions", "apiKey": "$GATEWAY_KEY"}
        models = {"providers": {"roost": {**provider, "models": [model]}}}
        environment = {
            **SMALL_NODE,
            "PI_OFFLINE": "1",
            "GATEWAY_KEY": place.key,
            "PI_CODING_AGENT_DIR": f"{place.folder}/pi",
        }
        return Start(_SCRIPT, environment, {"pi/models.json": json.dumps(models), "sessions/.keep": ""})

    def heard(self, line: Mapping[str, Any]) -> Heard:
        said = line.get("message")
        message = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
        if line.get("type") == "message_end" and message.get("stopReason") == "error":
            return Heard(failure=text_of(message.get("errorMessage")) or "it failed")
        return Heard(done=line.get("type") == "agent_end")


PROGRAM = Pi()
