"""The contract of a coding agent's row in the table: how it is started, told something, resumed and understood.

A program runs headless, once for each prompt: it reads the prompt, works until it has nothing left to do, and ends. Its
model calls go to Roost's gateway, which makes each of them a step of the session's loop (`bridge.py`). So a row says
nothing of texts, tool calls, permissions or usage: they are in the model calls, alike for all programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class Picture(NamedTuple):
    """A picture that comes with a prompt. path: of its file. data: base64."""

    path: str
    media_type: str
    data: str


class Place(NamedTuple):
    """Where a program runs. folder: its own of this session, in the workspace, for settings and conversations. gateway:
    base URL of its model calls. key: of the gateway, good for this session while the program runs. model: name to show
    for the model. prompt: file with what it is told. workspace: the folder to work in. instructions: the agent's, for
    its system prompt. text: what it is told. pictures: what it is shown beside it, if it takes pictures."""

    folder: str
    gateway: str
    key: str
    model: str
    prompt: str
    workspace: str
    instructions: str
    text: str = ""
    pictures: tuple[Picture, ...] = ()


class Start(NamedTuple):
    """How to start a program. script: POSIX shell with the program as `$PROGRAM`, its folder as `$STATE`, the prompt's
    file as `$PROMPT`, the conversation as `$THREAD` (empty: a new one), the agent's instructions as `$INSTRUCTIONS`,
    the folder of the files of messages as `$FILES`, and the pictures' names there as `$PICTURES`. files: by path below
    its folder; written anew each time, so that nothing that a command changed there stays. prompt: what the prompt's
    file holds in the place of the text."""

    script: str
    environment: Mapping[str, str] = {}
    files: Mapping[str, str] = {}
    prompt: str | None = None


class Heard(NamedTuple):
    """What a line of a program's output says. thread: names its conversation. failure: why it could not do its work.
    done: it has done all of its work, though it may take its time to end."""

    thread: str = ""
    failure: str = ""
    done: bool = False


class Program(Protocol):
    """One coding agent.

    name: in `program = "NAME"`. title: for people. command: name of its executable. install: the command that installs
    it. node: it is a script for Node. names: whether Roost chooses the name of a new conversation, a UUID. kept: the
    file of a conversation below its folder, a pattern of the shell with `{thread}`; empty if it cannot be told. shows:
    whether it takes pictures with a prompt.
    """

    name: str
    title: str
    command: str
    install: str
    node: bool
    names: bool
    kept: str
    shows: bool

    def start(self, place: Place) -> Start: ...

    def heard(self, line: Mapping[str, Any]) -> Heard:
        """Understand one line of JSON of its output."""
        ...


SMALL_NODE = {"NODE_OPTIONS": "--disable-wasm-trap-handler"}
"""Lets Node start WebAssembly, which its `fetch` needs, within the address space of a command in a sandbox."""


def text_of(value: Any) -> str:
    """Return a value of a program's JSON as a short text."""
    return value[:2000] if isinstance(value, str) else ""
