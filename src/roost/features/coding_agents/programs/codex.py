"""Codex, by `codex exec`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from roost.features.coding_agents.program import Heard, Place, Start, text_of

_SCRIPT = """\
place="$STATE/codex/roost.place"
[ "$(cat "$place" 2>/dev/null)" = "$STATE" ] || rm -f "$STATE"/codex/*.sqlite*
printf %s "$STATE" > "$place"
if [ -n "$THREAD" ]; then set -- resume "$THREAD" -; else set -- -; fi
for picture in $PICTURES; do set -- "$@" --image "$FILES/$picture"; done
exec "$PROGRAM" exec --json --skip-git-repo-check "$@" < "$PROMPT"
"""
_CONFIG = """\
model = {model}
model_provider = "roost"
approval_policy = "never"
sandbox_mode = "danger-full-access"
developer_instructions = {instructions}
check_for_update_on_startup = false

[model_providers.roost]
name = "roost"
base_url = {url}
env_key = "GATEWAY_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
stream_idle_timeout_ms = 86400000
"""


class Codex:
    """Its own sandbox is off: Roost's is around it. It names its conversations itself. Its index of them has absolute
    paths: in a fork, whose workspace lies elsewhere, it is removed, and Codex makes it again from the conversations."""

    name, title, command, node, names = "codex", "Codex", "codex", True, False
    install = "npm install -g @openai/codex"
    kept = "codex/sessions/*/*/*/*{thread}*"
    shows = True

    def start(self, place: Place) -> Start:
        values = {"model": place.model, "instructions": place.instructions, "url": f"{place.gateway}/v1"}
        config = _CONFIG.format(**{name: json.dumps(value) for name, value in values.items()})
        environment = {"CODEX_HOME": f"{place.folder}/codex", "GATEWAY_KEY": place.key}
        return Start(_SCRIPT, environment, {"codex/config.toml": config})

    def heard(self, line: Mapping[str, Any]) -> Heard:
        match line.get("type"):
            case "thread.started":
                return Heard(thread=text_of(line.get("thread_id")))
            case "turn.completed":
                return Heard(done=True)
            case "turn.failed":
                error = line.get("error")
                why = text_of(cast("dict[str, Any]", error).get("message")) if isinstance(error, dict) else ""
                return Heard(failure=why or "it failed", done=True)
            case _:
                return Heard()


PROGRAM = Codex()
