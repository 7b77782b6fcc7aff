"""Read a request of the Responses API. Unknown fields are ignored: clients send more than any server knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from roost.doors.openai.client_tools import functions
from roost.doors.openai.response_items import CUSTOM
from roost.doors.openai.response_writer import DEFAULTS
from roost.errors import Invalid
from roost.models.request import ToolSpec

_CUSTOM_SCHEMA = {"type": "object", "properties": {CUSTOM: {"type": "string"}}, "required": [CUSTOM]}
_SHOWN = (
    "instructions", "metadata", "max_output_tokens", "max_tool_calls", "parallel_tool_calls", "previous_response_id",
    "prompt_cache_key", "reasoning", "safety_identifier", "temperature", "text", "tool_choice",
    "top_p", "truncation", "user", "background", "conversation", "store",
)  # fmt: skip
"""Fields of a request that its response shows."""


class ResponseRequest(msgspec.Struct, omit_defaults=True):
    """The fields that count here, or that the response shows."""

    model: str
    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    reasoning: dict[str, Any] | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    parallel_tool_calls: bool | None = None
    prompt: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    truncation: str | None = None
    user: str | None = None

    def shown(self) -> dict[str, Any]:
        """Return what the response shows of the request, without its tools."""
        found = {name: value for name in _SHOWN if (value := getattr(self, name)) is not None}
        if (conversation := self.conversation_id) is not None:
            found["conversation"] = {"id": conversation}
        return found

    def details(self, shown: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the log keeps of the request, so that its response can be shown later: what is not as usual of
        `shown`. Nothing if the client wants nothing to be stored."""
        if self.store is False:
            return {}
        found = {name: value for name, value in shown.items() if value not in (None, {}, DEFAULTS.get(name))}
        found.pop("conversation", None)  # the session's name says it
        return found | {"custom": sorted(custom)} if (custom := self.custom) else found

    @property
    def conversation_id(self) -> str | None:
        """The conversation that the request names. Raises `Invalid`."""
        given: Any = self.conversation
        name: Any = cast("dict[str, Any]", given).get("id") if isinstance(given, dict) else given
        if not isinstance(name, str | None):
            raise Invalid("conversation: give the id of a conversation")
        return name

    @property
    def custom(self) -> frozenset[str]:
        """Names of the tools whose argument is a text and no JSON."""
        if not self.tools:
            return frozenset()
        names = (tool.get("name") for tool in self.tools if tool.get("type") == "custom")
        return frozenset(name for name in names if isinstance(name, str))

    def specs(self) -> tuple[ToolSpec, ...]:
        """Return the tools that the client runs, without those that its choice rules out; those that OpenAI runs itself
        are left out. Raises `Invalid`."""
        if not self.tools and self.tool_choice is None:
            return ()
        found: list[tuple[str, Any]] = []
        for at, tool in enumerate(self.tools or ()):
            if tool.get("type") == "function":
                found.append((f"tools[{at}]", tool))
            elif tool.get("type") == "custom":
                found.append((f"tools[{at}]", {**tool, "parameters": _CUSTOM_SCHEMA}))
        specs, given = functions(found), self.tool_choice
        allowed = self._wanted() if isinstance(given, dict) and given.get("type") == "allowed_tools" else None
        return specs if allowed is None else _chosen(specs, allowed)

    def chosen(self, specs: tuple[ToolSpec, ...]) -> tuple[ToolSpec, ...]:
        """Return the tools that the next answer may call: of `specs`, or the named one. Raises `Invalid`."""
        return specs if (wanted := self._wanted()) is None else _chosen(specs, wanted)

    @property
    def choice(self) -> str:
        """Whether the model may call tools: auto, none or required. Raises `Invalid`."""
        given = self.tool_choice
        if isinstance(given, dict):
            mode = given.get("mode", "auto") if given.get("type") == "allowed_tools" else "required"
        else:
            mode = given or "auto"
        if mode not in ("auto", "none", "required"):
            raise Invalid(f"tool_choice: {mode!r} is none of auto, none, required")
        return mode

    def _wanted(self) -> set[str] | None:
        """Return the names that `tool_choice` allows; None for all. Raises `Invalid`."""
        given = self.tool_choice
        if not isinstance(given, dict):
            return None
        kind = given.get("type")
        if kind == "allowed_tools":
            tools: Any = given.get("tools")
            if not isinstance(tools, list):
                raise Invalid("tool_choice.tools: give a list of tools")
            given_tools = [cast("dict[str, Any]", one) for one in cast("list[Any]", tools) if isinstance(one, dict)]
            return {name for tool in given_tools if isinstance(name := tool.get("name"), str)}
        if kind not in ("function", "custom") or not isinstance(given.get("name"), str):
            raise Invalid("tool_choice: name a tool of `tools`, as {'type': 'function', 'name': ...}")
        return {given["name"]}

    def answer_schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema that the answer must fit; None for any text. Raises `Invalid`."""
        form: Any = (self.text or {}).get("format")
        kind: Any = cast("dict[str, Any]", form).get("type") if isinstance(form, dict) else None
        if form is None or kind == "text":
            return None
        if kind == "json_object":
            return {"type": "object"}
        if kind != "json_schema":
            raise Invalid(f"text.format.type: {kind!r} is none of text, json_object, json_schema")
        schema: Any = cast("dict[str, Any]", form).get("schema")
        if not isinstance(schema, dict):
            raise Invalid("text.format.schema: give a JSON Schema")
        return cast("dict[str, Any]", schema)

    @property
    def effort(self) -> str | None:
        effort = (self.reasoning or {}).get("effort")
        return effort if isinstance(effort, str) else None


def _chosen(specs: tuple[ToolSpec, ...], wanted: set[str]) -> tuple[ToolSpec, ...]:
    found = tuple(spec for spec in specs if spec.name in wanted)
    if wanted and not found:
        raise Invalid(f"tool_choice: {', '.join(sorted(wanted))} is no tool that the client runs")
    return found
