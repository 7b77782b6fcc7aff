"""Read a request of the Messages API. Unknown fields are ignored: clients send more than any server knows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from roost.errors import Invalid
from roost.models.request import EFFORTS, Effort, ToolChoice, ToolSpec

_TOOL = re.compile(r"[A-Za-z0-9_-]{1,128}")
_BILLING = "x-anthropic-billing-header:"
"""How a block of the system begins that Claude Code sends to Anthropic's accounting: it is no instruction."""
_LITTLE, _MUCH = 4_096, 16_384
"""Bounds of a budget for thinking, in tokens, for little and for much effort."""


class InputMessage(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]]


class Metadata(msgspec.Struct):
    user_id: str | None = None


class Thinking(msgspec.Struct):
    type: str
    budget_tokens: int | None = None


class Format(msgspec.Struct):
    type: str
    schema: dict[str, Any] | None = None


class OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: Format | None = None


class Choice(msgspec.Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Tool(msgspec.Struct):
    name: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class MessageRequest(msgspec.Struct):
    """The fields that count here."""

    model: str
    messages: list[InputMessage]
    max_tokens: int | None = None
    system: str | list[dict[str, Any]] | None = None
    stream: bool | None = None
    metadata: Metadata | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Choice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None

    @property
    def instructions(self) -> str | None:
        """The system prompt. Raises `Invalid`."""
        if self.system is None or isinstance(self.system, str):
            blocks: Sequence[str] = [self.system or ""]
        else:
            blocks = texts_of(self.system, "system")
        kept = [text for text in blocks if text.strip() and not text.startswith(_BILLING)]
        return "\n\n".join(kept) or None

    @property
    def effort(self) -> Effort | None:
        """How much the model should think; None leaves it to the model."""
        thinking, asked = self.thinking, self.output_config.effort if self.output_config else None
        if thinking is not None and thinking.type == "disabled":
            return "off"
        if asked is not None:
            return "max" if asked == "xhigh" else asked if asked in EFFORTS else None
        if thinking is None or thinking.budget_tokens is None:
            return None
        return "low" if thinking.budget_tokens < _LITTLE else "medium" if thinking.budget_tokens < _MUCH else "high"

    @property
    def answer_schema(self) -> dict[str, Any] | None:
        """The JSON Schema that the answer must fit; None for any text. Raises `Invalid`."""
        form = (self.output_config.format if self.output_config else None) or self.output_format
        if form is None:
            return None
        if form.type != "json_schema" or form.schema is None:
            raise Invalid("output_config.format: give a JSON Schema, as {'type': 'json_schema', 'schema': {...}}")
        return form.schema

    def specs(self) -> tuple[ToolSpec, ...]:
        """Return the tools that the client runs, without those that Anthropic runs or knows the schema of. Raises
        `Invalid`."""
        found: dict[str, ToolSpec] = {}
        for at, given in enumerate(self.tools or []):
            if given.get("type") not in (None, "custom"):
                continue
            try:
                tool = msgspec.convert(given, _Tool)
            except msgspec.ValidationError as error:
                raise Invalid(f"tools.{at}: {error}") from None
            if not _TOOL.fullmatch(tool.name):
                raise Invalid(f"tools.{at}.name: use letters, digits, _ and - (at most 128)")
            if tool.name in found:
                raise Invalid(f"tools.{at}: two tools are called {tool.name!r}")
            schema = tool.input_schema or {"type": "object", "properties": {}}
            found[tool.name] = ToolSpec(tool.name, tool.description or "", schema)
        return tuple(found.values())

    def called(self, tools: tuple[ToolSpec, ...]) -> tuple[tuple[ToolSpec, ...], ToolChoice]:
        """Return the tools that the model may call now, and whether it must call one. Raises `Invalid`."""
        choice = self.tool_choice
        if choice is None or choice.type == "auto":
            return tools, "auto"
        if choice.type == "none":
            return tools, "none"
        if choice.type == "tool":
            tools = tuple(tool for tool in tools if tool.name == choice.name)
        elif choice.type != "any":
            raise Invalid(f"tool_choice.type: {choice.type!r} is none of auto, any, tool, none")
        if not tools:
            raise Invalid(f"tool_choice: no tool of this request can be called: {choice.name or choice.type!r}")
        return tools, "required"


def texts_of(blocks: Sequence[dict[str, Any]], where: str) -> list[str]:
    """Return the texts of blocks that may be nothing else. Raises `Invalid`."""
    texts: list[str] = []
    for at, block in enumerate(blocks):
        text = block.get("text")
        if block.get("type") != "text" or not isinstance(text, str):
            raise Invalid(f"{where}.{at}: {block.get('type')!r} is no text")
        texts.append(text)
    return texts
