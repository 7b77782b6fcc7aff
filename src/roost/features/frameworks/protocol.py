"""What the runtime and an agent's program say to each other: one JSON object a line, with its kind in `type`.

The program imports its framework and says `hello`. For each run of the agent it gets `welcome`, imports the agent in
a copy of itself, says `ready` with its tools, and gets one `turn.start`. `run.over` tells that the copy has ended. It
asks for each tool call with `tool.begin` and waits: `tool.run` lets it run the tool, whose outcome it reports with
`tool.end` and may use when it has `tool.ack`; `tool.result` gives it the recorded outcome, or a refusal. It ends
with `turn.done` or `turn.failed`. Unknown fields are ignored."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

VERSION = 1
LINE_BYTES = 16 * 1024 * 1024
"""Bytes of a line. A longer one ends the program."""


class Said(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of what the program says."""

    known: ClassVar[bool] = True


class Hello(Said, frozen=True, kw_only=True, tag="hello"):
    """v: the versions that the program speaks. forks: each run is a copy of the program, which stays for the next."""

    v: list[int]
    framework_version: str = ""
    forks: bool = False


class ToolAbout(msgspec.Struct, frozen=True):
    """A tool of the agent. source: `agent` for a tool that is an agent itself, `handoff` for a call by which another
    agent goes on, `question` for one that a person answers in place of a tool."""

    name: str
    source: str = ""


class Ready(Said, frozen=True, kw_only=True, tag="ready"):
    tools: list[ToolAbout] = []


class ToolBegin(Said, frozen=True, kw_only=True, tag="tool.begin"):
    """n: number of the call in this program. call_id: the model's; empty where the framework does not tell it."""

    n: int
    name: str
    scope: str = ""
    call_id: str = ""
    arguments: str = "{}"


class ToolEnd(Said, frozen=True, kw_only=True, tag="tool.end"):
    n: int
    content: str
    is_error: bool = False


class Log(Said, frozen=True, kw_only=True, tag="log"):
    """What the agent's code printed. dropped: bytes that are left out."""

    text: str
    dropped: int = 0


class TurnDone(Said, frozen=True, kw_only=True, tag="turn.done"):
    """memory: the conversation with this turn, as the framework keeps it."""

    result: str
    memory: list[Any] = []


class TurnFailed(Said, frozen=True, kw_only=True, tag="turn.failed"):
    message: str


class RunOver(Said, frozen=True, kw_only=True, tag="run.over"):
    """The copy of the program that did a run has ended. code: negative for a signal."""

    code: int = 0


decode = msgspec.json.Decoder(Hello | Ready | ToolBegin | ToolEnd | Log | TurnDone | TurnFailed | RunOver).decode
"""Raises `msgspec.DecodeError`."""
encode = msgspec.json.Encoder().encode
