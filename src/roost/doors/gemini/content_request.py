"""Read a request of the Gemini API. Unknown fields are ignored: clients send more than any server knows. Fields may be
written as `systemInstruction` or as `system_instruction`, as the API allows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias, cast

import msgspec

from roost.errors import Invalid
from roost.models.request import Effort, ToolChoice, ToolSpec

Json: TypeAlias = dict[str, Any]
_TOOL = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_SNAKE = re.compile(r"_([a-z0-9])")
_EXACT = {"args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema", "labels"}
"""Fields whose content is the client's own: no name in it is changed."""
_LITTLE, _MUCH = 4_096, 16_384
"""Bounds of a budget for thinking, in tokens, for little and for much effort."""
_LEVELS: dict[str, Effort] = {"MINIMAL": "low", "LOW": "low", "MEDIUM": "medium", "HIGH": "high"}
_NESTED = 64


class Content(msgspec.Struct):
    role: str | None = None
    parts: list[Json] | None = None


class ThinkingConfig(msgspec.Struct, rename="camel"):
    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: str | None = None


class GenerationConfig(msgspec.Struct, rename="camel"):
    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    seed: int | None = None
    candidate_count: int | None = None
    max_output_tokens: int | None = None
    stop_sequences: list[str] | None = None
    response_mime_type: str | None = None
    response_schema: Json | None = None
    response_json_schema: Json | None = None
    thinking_config: ThinkingConfig | None = None


class FunctionDeclaration(msgspec.Struct, rename="camel"):
    name: str
    description: str | None = None
    parameters: Json | None = None
    parameters_json_schema: Json | None = None


class Tool(msgspec.Struct, rename="camel"):
    function_declarations: list[FunctionDeclaration] | None = None


class FunctionCallingConfig(msgspec.Struct, rename="camel"):
    mode: str | None = None
    allowed_function_names: list[str] | None = None


class ToolConfig(msgspec.Struct, rename="camel"):
    function_calling_config: FunctionCallingConfig | None = None


class ContentRequest(msgspec.Struct, rename="camel"):
    """The fields that count here."""

    contents: list[Content]
    system_instruction: Content | str | None = None
    generation_config: GenerationConfig | None = None
    tools: list[Tool] | None = None
    tool_config: ToolConfig | None = None
    cached_content: str | None = None

    @property
    def config(self) -> GenerationConfig:
        return self.generation_config or GenerationConfig()

    @property
    def instructions(self) -> str:
        """The system prompt. Raises `Invalid`."""
        given = self.system_instruction
        if given is None or isinstance(given, str):
            return given or ""
        texts = [part.get("text") for part in given.parts or ()]
        if not all(isinstance(text, str) for text in texts):
            raise Invalid("systemInstruction: its parts are texts")
        return "\n\n".join(text for text in cast("list[str]", texts) if text.strip())

    @property
    def thoughts(self) -> bool:
        """Whether the answer shows the model's reasoning."""
        thinking = self.config.thinking_config
        return thinking is not None and bool(thinking.include_thoughts)

    @property
    def effort(self) -> Effort | None:
        """How much the model should think; None leaves it to the model."""
        thinking = self.config.thinking_config
        if thinking is None:
            return None
        if thinking.thinking_level is not None:
            return _LEVELS.get(thinking.thinking_level.upper())
        budget = thinking.thinking_budget
        if budget is None or budget < 0:
            return None
        return "off" if budget == 0 else "low" if budget < _LITTLE else "medium" if budget < _MUCH else "high"

    @property
    def answer_schema(self) -> Json | None:
        """The JSON Schema that the answer must fit; None for any text."""
        config = self.config
        if config.response_json_schema is not None:
            return config.response_json_schema
        if config.response_schema is not None:
            return cast("Json", json_schema(config.response_schema))
        return {"type": "object"} if config.response_mime_type == "application/json" else None

    def specs(self) -> tuple[ToolSpec, ...]:
        """Return the tools that the client runs, without those that Google runs. Raises `Invalid`."""
        found: dict[str, ToolSpec] = {}
        for tool in self.tools or ():
            for one in tool.function_declarations or ():
                if not _TOOL.fullmatch(one.name):
                    raise Invalid(f"tools: {one.name[:200]!r} is no name of a function")
                if one.name in found:
                    raise Invalid(f"tools: two functions are called {one.name!r}")
                given: Json = one.parameters_json_schema or json_schema(one.parameters or {})
                schema = given if given.get("type") == "object" else {**given, "type": "object"}
                found[one.name] = ToolSpec(one.name, one.description or "", schema)
        return tuple(found.values())

    def called(self, tools: tuple[ToolSpec, ...]) -> tuple[tuple[ToolSpec, ...], ToolChoice]:
        """Return the tools that the model may call now, and whether it must call one. Raises `Invalid`."""
        config = (self.tool_config and self.tool_config.function_calling_config) or FunctionCallingConfig()
        mode = (config.mode or "AUTO").upper()
        if config.allowed_function_names:
            tools = tuple(tool for tool in tools if tool.name in config.allowed_function_names)
        if mode == "NONE":
            return tools, "none"
        if mode != "ANY":
            return tools, "auto"
        if not tools:
            raise Invalid("toolConfig: no function of this request can be called")
        return tools, "required"


def read(body: Json) -> ContentRequest:
    """Return a request. Raises `Invalid`."""
    try:
        return msgspec.convert(_camel(body), ContentRequest)
    except msgspec.ValidationError as error:
        raise Invalid(f"the body: {error}") from None


def _camel(value: Any, depth: int = 0) -> Any:
    """Return a value with the names of its fields in one spelling. Raises `Invalid`."""
    if depth > _NESTED:
        raise Invalid("the body is nested too deeply")
    if isinstance(value, list):
        return [_camel(each, depth + 1) for each in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    found: Json = {}
    for name, each in cast("Json", value).items():
        shown = _SNAKE.sub(lambda match: match[1].upper(), name) if "_" in name else name
        found[shown] = each if shown in _EXACT else _camel(each, depth + 1)
    return found


def json_schema(schema: Any) -> Any:
    """Return a schema of the API's own dialect as JSON Schema: it has names of types in capitals, and `nullable`."""
    if isinstance(schema, list):
        return [json_schema(each) for each in cast("list[Any]", schema)]
    if not isinstance(schema, Mapping):
        return schema
    found: Json = {}
    for name, value in cast("Json", schema).items():
        if name == "properties" and isinstance(value, dict):
            found[name] = {key: json_schema(each) for key, each in cast("Json", value).items()}
        elif name in ("items", "anyOf", "prefixItems", "additionalProperties"):
            found[name] = json_schema(value)
        elif name == "type" and isinstance(value, str):
            found[name] = value.lower()
        elif name not in ("nullable", "propertyOrdering", "property_ordering", "any_of", "example"):
            found[name] = value
    if "any_of" in schema:
        found["anyOf"] = json_schema(schema["any_of"])
    if cast("Json", schema).get("nullable") and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    return found
