"""Replays: run a recorded session again, and compare."""

from __future__ import annotations

from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from roost.api.shapes import Answer, ModelName
from roost.features.replay.modes import Compare, Kind, Tools
from roost.operation import POST

LOG_BYTES = 64 * 1024 * 1024
"""Most bytes of a log in a request."""
_Prompt = Annotated[str, Meta(min_length=1, max_length=1_000_000)]
_Agent = Annotated[str, Meta(min_length=1, max_length=256)]
_Path = Annotated[str, Meta(min_length=1, max_length=4096)]
_Paths = Annotated[list[_Path], Meta(max_length=64)]


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """The first difference. `position`: in the record's log. `step`: of its turn, from 1. `recorded`, `now`: what was
    there, and what came instead. `diff`: both as lines, as `diff -u` shows them."""

    kind: Kind
    turn: int
    step: int
    position: int
    summary: str
    recorded: str = ""
    now: str = ""
    diff: str = ""


class Replayed(Answer):
    """What a replay found. `session`: the recorded one. `divergence`: None if nothing differs. `version`: of the
    definition that ran. `turns`, `steps`, `calls`: how many ran; a step is a model call here. `outcome`: how the last
    turn ended. `tools`: the names of all calls, in order. `cost`: dollars; None if a price is unknown. `recorded_cost`:
    of the same steps in the record. `files`: those that were asked for; None where there is none. `notes`: what the
    replay could not compare. `seconds`: how long it took."""

    session: str
    agent: str
    version: str
    model: str
    divergence: Divergence | None = None
    turns: int = 0
    steps: int = 0
    calls: int = 0
    outcome: str = ""
    answer: str = ""
    tools: list[str] = []
    cost: float | None = 0.0
    recorded_cost: float | None = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    files: dict[str, str | None] = {}
    notes: list[str] = []
    seconds: float = 0.0


class ReplaysApi(Protocol):
    @POST(
        "/sessions/{session}/replay", body="ReplayBody", bodiless=True, errors=(404, 409, 422), right="read", slow=True
    )
    async def run(
        self,
        session: str,
        *,
        tools: Tools = "recorded",
        model: ModelName | None = None,
        agent: _Agent | None = None,
        prompt: _Prompt | None = None,
        compare: Compare | None = None,
        network: bool = False,
        folder: _Path | None = None,
        files: _Paths | None = None,
    ) -> Replayed:
        """Run a recorded session again, and find the first difference.

        By default the model's answers and the results of tools come from the record, and the agent is the present one
        of its name: nothing is called. `tools`: `live` runs the tools that stay in the files and the sandbox, in a
        folder of the replay's own. `model`, `agent` (a name, or `name@version`; `recorded` is the definition in the
        log) and `prompt` (instructions): ask a model with recorded tools; a call that the record lacks ends the replay,
        and is not run. `compare`: `all` compares texts and sizes, too, `calls` only calls, decisions and how turns end;
        by default `calls` with a model, else `all`. `network`: live tools may reach the agent's hosts. `folder`: of
        this machine; live tools begin with a copy of it. `files`: paths to return as live tools left them.
        """
        ...

    @POST("/replays", body="LogReplayBody", errors=(409, 413, 422), right="read", most=LOG_BYTES, slow=True)
    async def log(
        self,
        log: str,
        *,
        tools: Tools = "recorded",
        model: ModelName | None = None,
        agent: _Agent | None = None,
        prompt: _Prompt | None = None,
        compare: Compare | None = None,
        network: bool = False,
        folder: _Path | None = None,
        files: _Paths | None = None,
    ) -> Replayed:
        """Run a session again whose log is given, as `roost export` wrote it.

        Without an agent of its name here, the definition in the log runs.
        """
        ...
