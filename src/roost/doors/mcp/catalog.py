"""What the door offers: tools, resources, prompts. A part of it is an `Offer`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from roost.doors.mcp.exchange import Exchange
from roost.doors.mcp.wire import Json


class Described(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """What every listed thing has."""

    name: str
    description: str
    title: str | None = None


class ToolInfo(Described, kw_only=True):
    input_schema: Json
    output_schema: Json | None = None
    annotations: Json | None = None
    execution: Json | None = None


class ResourceInfo(Described, kw_only=True):
    uri: str
    mime_type: str | None = None


class TemplateInfo(Described, kw_only=True):
    uri_template: str
    mime_type: str | None = None


class PromptArgument(Described, kw_only=True):
    required: bool = False


class PromptInfo(Described, kw_only=True):
    arguments: tuple[PromptArgument, ...] = ()


class ToolResult(msgspec.Struct, rename="camel", omit_defaults=True):
    """The result of a tool. structured_content: the same for programs."""

    content: Sequence[Json]
    structured_content: Any = None
    is_error: bool = False


class ToolFailed(Exception):
    """The tool failed, and the client's model is to know why."""


class TaskInfo(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A task: a call that goes on without its request. created_at, last_updated_at: ISO 8601. ttl_ms: None for ever.
    error: of the protocol; a tool that failed has a result."""

    task_id: str
    status: Literal["working", "input_required", "completed", "failed", "cancelled"]
    created_at: str
    last_updated_at: str
    ttl_ms: int | None
    poll_interval_ms: int = 0
    status_message: str | None = None
    input_requests: Json | None = None
    result: ToolResult | None = None
    error: Json | None = None


class TaskBegun(Exception):
    """The call goes on as a task. Only for a client that has `Exchange.tasks`."""

    def __init__(self, task: TaskInfo) -> None:
        super().__init__(task.task_id)
        self.task = task


class Task(Protocol):
    """A task, by its id."""

    async def read(self) -> TaskInfo: ...

    async def update(self, answers: Json) -> None:
        """Take in the client's answers, by the keys of the questions. Others are ignored."""
        ...

    async def cancel(self) -> None:
        """Order the end of the task. Does nothing when it has ended."""
        ...


class Page(NamedTuple):
    """Resources. next: the cursor of the next page."""

    resources: Sequence[ResourceInfo]
    next: str | None = None


class Tool(Protocol):
    """A tool of the door."""

    @property
    def info(self) -> ToolInfo: ...

    async def run(self, arguments: Json, exchange: Exchange) -> ToolResult:
        """Do the call. Raises `ToolFailed`, `RoostError`, `Failure`, and `InputNeeded` through `exchange.ask`: the call
        then begins again with the answers."""
        ...

    async def resume(self, exchange: Exchange) -> ToolResult:
        """Go on with a call of which `exchange.kept` tells what it had done."""
        ...


class Offer:
    """A part of what the door offers; by default nothing."""

    prompting = False
    """Whether it has prompts."""

    async def tools(self) -> Sequence[Tool]:
        """Return all tools, in any order."""
        return ()

    async def tool(self, name: str) -> Tool | None:
        """Return the tool of this name."""
        return next((tool for tool in await self.tools() if tool.info.name == name), None)

    async def task(self, id: str, exchange: Exchange) -> Task | None:
        """Return a task of its tools; None when it has no such task."""
        return None

    async def resources(self, cursor: str | None) -> Page:
        """Return a page of the resources. Raises `Failure` for a cursor that is none."""
        return Page(())

    def templates(self) -> Sequence[TemplateInfo]:
        return ()

    async def read(self, uri: str) -> Sequence[Json] | None:
        """Return the contents of a resource; None when it has no such resource."""
        return None

    def watch(self, uri: str) -> AsyncIterator[None] | None:
        """Return what yields whenever the resource has changed; None when that cannot be told."""
        return None

    def prompts(self) -> Sequence[PromptInfo]:
        return ()

    async def prompt(self, name: str, arguments: Mapping[str, str], exchange: Exchange) -> Json | None:
        """Return the messages of a prompt as `GetPromptResult`; None when it has no such prompt."""
        return None

    async def complete(self, where: str, argument: str, value: str) -> Sequence[str] | None:
        """Return values of an argument that begin with `value`, the best first. where: a prompt's name or a resource's
        template. None when neither is its own."""
        return None


def text(said: str) -> Json:
    """Return a text as a content block."""
    return {"type": "text", "text": said}
