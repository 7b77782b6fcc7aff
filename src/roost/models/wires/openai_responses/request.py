"""The body of an OpenAI response: a list of items; calls, results and pieces of reasoning are separate items."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, cast

import msgspec

from roost.log.content import (
    AssistantMessage,
    Audio,
    File,
    Image,
    Media,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    UserMessage,
    Video,
)
from roost.models.knobs import knobs_of, turn
from roost.models.profile import Knob, Profile
from roost.models.prompt import Prompt
from roost.models.wire_body import Json, call_id, closed, json_object, location, named, takes, tool_name
from roost.models.wires.assembly import origin_of

NAME = "openai_responses"
KNOBS = {
    "temperature": Knob(field="temperature"),
    "top_p": Knob(field="top_p"),
    "effort": Knob(
        field="reasoning.effort",
        values={"off": "none", "low": "low", "medium": "medium", "high": "high", "max": "max"},
    ),
    "verbosity": Knob(field="text.verbosity"),
    "speed": Knob(field="service_tier"),
    "image": Knob(),
}
"""Knobs of the newest models. image: an object of settings, possibly empty, that allows the model to make pictures."""
LEAST_OUTPUT = 16
"""Tokens; the server refuses a lower limit."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server's deviations from the common protocol. summary: request readable reasoning, which OpenAI gives only to
    verified organizations and refuses to others."""

    summary: Literal["auto", "concise", "detailed"] | None = None


def body_of(prompt: Prompt, model: str, profile: Profile, quirks: Quirks, *, stream: bool) -> Json:
    knobs = knobs_of(profile, KNOBS)
    body: Json = {"model": model, "input": compile_items(prompt.messages, profile), "store": False}
    if profile.thinks != "never":
        # The server refuses this field for a model that does not reason.
        body["include"] = ["reasoning.encrypted_content"]
    else:
        knobs.pop("effort", None)
    if prompt.system:
        body["instructions"] = "\n\n".join(prompt.system)
    if stream:
        body["stream"] = True
    if prompt.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.schema,
                "strict": False,  # the server's default is true
            }
            for tool in prompt.tools
        ]
        body["tool_choice"] = prompt.tool_choice
    if knobs.pop("image", None) is not None and isinstance(image := prompt.knobs.get("image"), dict):
        body["tools"] = [*body.get("tools", ()), {"type": "image_generation", **cast("Json", image)}]
    if prompt.output_schema is not None:
        schema = prompt.output_schema
        shape = {"type": "json_schema", "name": "output", "schema": schema, "strict": closed(schema)}
        body["text"] = {"format": shape}
    if prompt.max_output is not None:
        body["max_output_tokens"] = max(LEAST_OUTPUT, prompt.max_output)
    turn(body, knobs, prompt.knobs)
    if quirks.summary and profile.thinks != "never":
        body["reasoning"] = {**body.get("reasoning", {}), "summary": quirks.summary}
    return body


def compile_items(messages: Sequence[Message], profile: Profile) -> list[Json]:
    """Make the items. Reasoning is sent back only if this family signed it and text or a call followed it."""
    origin = None if profile.thinking_back == "none" else origin_of(NAME, profile)
    last_user = max((i for i, message in enumerate(messages) if isinstance(message, UserMessage)), default=-1)
    items: list[Json] = []
    for index, message in enumerate(messages):
        match message:
            case UserMessage():
                content = _content(message.parts, profile) or [_text("(empty)")]
                items.append({"type": "message", "role": "user", "content": content})
            case AssistantMessage():
                back = profile.thinking_back != "turn" or index > last_user
                items += _assistant(message, origin if back else None) or [_output_text("(no answer)")]
            case ToolMessage():
                output = _output(message, profile)
                items.append({"type": "function_call_output", "call_id": call_id(message.call, _ID), "output": output})
    return items


def _assistant(message: AssistantMessage, origin: str | None) -> list[Json]:
    items: list[Json] = []
    held: list[Json] = []
    for part in message.parts:
        match part:
            case Thinking():
                if origin is not None and part.signature and part.origin == origin:
                    held.append(_reasoning(part))
                continue
            case Text():
                item = _output_text(part.text) if part.text else None
            case ToolCall():
                item = {
                    "type": "function_call",
                    "call_id": call_id(part.id, _ID),
                    "name": tool_name(part.name),
                    "arguments": json_object(part.arguments),
                }
            case Image() | Audio() | Video():
                item = _output_text(named(part))
        if item is not None:
            items += [*held, item]
            held = []
    return items


def _reasoning(part: Thinking) -> Json:
    # Without its id, because the server would look up an item that it did not store.
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    return {"type": "reasoning", "summary": summary, "encrypted_content": part.signature}


def _output_text(text: str) -> Json:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def _output(message: ToolMessage, profile: Profile) -> str | list[Json]:
    if all(isinstance(part, Text) or not _sent(part, profile) for part in message.parts):
        text = "\n".join(part.text if isinstance(part, Text) else named(part) for part in message.parts)
        return text or "(no output)"
    return _content(message.parts, profile)


def _content(parts: Sequence[Text | Media], profile: Profile) -> list[Json]:
    content: list[Json] = []
    for part in parts:
        if isinstance(part, Text):
            if part.text:
                content.append(_text(part.text))
        elif isinstance(part, Image) and takes(profile, part):
            content.append({"type": "input_image", "image_url": location(part), "detail": "auto"})
        elif isinstance(part, File) and takes(profile, part):
            content.append(_file(part))
        else:
            content.append(_text(named(part)))
    return content


def _sent(part: Media, profile: Profile) -> bool:
    return isinstance(part, Image | File) and takes(profile, part)


def _file(part: File) -> Json:
    if part.url is not None and not part.data:
        return {"type": "input_file", "file_url": part.url}
    return {"type": "input_file", "filename": part.name or "file", "file_data": location(part)}


def _text(text: str) -> Json:
    return {"type": "input_text", "text": text}
