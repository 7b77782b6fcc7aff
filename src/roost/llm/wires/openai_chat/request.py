"""The body of an OpenAI chat completion."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from roost.llm.knobs import knobs_of, turn
from roost.llm.profile import Knob, Profile, ThinkingBack
from roost.llm.prompt import Prompt
from roost.llm.wires.body import Json, closed, json_object, location, named, takes, tool_name
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
)

NAME = "openai_chat"
KNOBS = {
    "temperature": Knob(field="temperature"),
    "top_p": Knob(field="top_p"),
    "seed": Knob(field="seed"),
    "modalities": Knob(field="modalities"),
    "audio": Knob(field="audio"),
}


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a server departs from the common ground."""

    max_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    stream_usage: bool = True
    send_reasoning: bool = False
    """Reasoning of the running turn must be sent back with its tool calls."""
    short_ids: bool = False
    """Call ids must be nine letters or digits."""


def media_part(part: Media) -> Json | None:
    """A part as most servers take it; None where it cannot be sent."""
    match part:
        case Image():
            return {"type": "image_url", "image_url": {"url": location(part)}}
        case Audio():
            if not part.data:
                return {"type": "audio_url", "audio_url": {"url": part.url}}
            form = part.media_type.partition("/")[2].removeprefix("x-")
            form = {"mpeg": "mp3", "wave": "wav", "vnd.wave": "wav"}.get(form, form)
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": form}}
        case File():
            return {"type": "file", "file": {"filename": part.name or "file", "file_data": location(part)}}
        case _:
            return {"type": "video_url", "video_url": {"url": location(part)}}


def reasoning_content(text: str) -> Json:
    """The field of an assistant's message that holds its reasoning."""
    return {"reasoning_content": text}


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What another wire, named `wire`, changes of this one where it shares the protocol."""

    wire: str = NAME
    knobs: Mapping[str, Knob] = msgspec.field(default_factory=lambda: KNOBS)
    part: Callable[[Media], Json | None] = media_part
    thought: Callable[[str], Json] = reasoning_content


OWN = Terms()


def body_of(prompt: Prompt, model: str, profile: Profile, quirks: Quirks, *, stream: bool, terms: Terms = OWN) -> Json:
    system = "\n\n".join(prompt.system)
    messages = compile_messages(prompt.messages, profile=profile, quirks=quirks, terms=terms)
    body: Json = {
        "model": model,
        "messages": [{"role": "system", "content": system}, *messages] if system else messages,
    }
    if stream:
        body["stream"] = True
        if quirks.stream_usage:
            body["stream_options"] = {"include_usage": True}
    if prompt.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.schema},
            }
            for tool in prompt.tools
        ]
        body["tool_choice"] = prompt.tool_choice
    if prompt.output_schema is not None:
        schema = prompt.output_schema
        shape = {"name": "output", "schema": schema, "strict": closed(schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": shape}
    if prompt.max_output is not None:
        body[quirks.max_field] = prompt.max_output
    if prompt.stop:
        body["stop"] = list(prompt.stop)
    turn(body, knobs_of(profile, terms.knobs), prompt.knobs)
    return body


def compile_messages(
    messages: Sequence[Message],
    *,
    profile: Profile | None = None,
    quirks: Quirks | None = None,
    terms: Terms = OWN,
) -> list[Json]:
    """Calls whose arguments are not a JSON object are sent as one that carries the text, because servers parse them."""
    quirks, profile = quirks or Quirks(), profile or Profile()
    back: ThinkingBack = profile.thinking_back or ("turn" if quirks.send_reasoning else "none")
    last_user = max((i for i, message in enumerate(messages) if isinstance(message, UserMessage)), default=-1)
    wire: list[Json] = []
    shown: list[Json] = []
    for index, message in enumerate(messages):
        if shown and not isinstance(message, ToolMessage):
            wire.append(_shown(shown))
            shown = []
        match message:
            case UserMessage():
                wire.append({"role": "user", "content": _content(message.parts, profile, terms) or "(empty)"})
            case AssistantMessage():
                thinks = back == "all" or (back == "turn" and index > last_user)
                wire.append(_assistant(message, quirks, terms, thinks=thinks))
            case ToolMessage():
                text = _text(message.parts) or "(no output)"
                wire.append({"role": "tool", "tool_call_id": _id(message.call, quirks), "content": text})
                sent = (_part(part, profile, terms) for part in message.parts if not isinstance(part, Text))
                shown += [part for part in sent if part["type"] != "text"]
    return [*wire, _shown(shown)] if shown else wire


def _content(parts: Sequence[Text | Media], profile: Profile, terms: Terms) -> str | list[Json]:
    sent = [_part(part, profile, terms) for part in parts]
    if all(part["type"] == "text" for part in sent):
        return _text(parts)
    return [part for part in sent if part["type"] != "text" or part["text"]]


def _text(parts: Sequence[Text | Media]) -> str:
    return "\n".join(part.text if isinstance(part, Text) else named(part) for part in parts)


def _part(part: Text | Media, profile: Profile, terms: Terms) -> Json:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    sent = terms.part(part) if takes(profile, part) else None
    return sent or {"type": "text", "text": named(part)}


def _shown(media: list[Json]) -> Json:
    # A tool's message takes text alone on this wire.
    what = "images" if all(part["type"] == "image_url" for part in media) else "media"
    return {"role": "user", "content": [{"type": "text", "text": f"The {what} of the tools:"}, *media]}


def _assistant(message: AssistantMessage, quirks: Quirks, terms: Terms, *, thinks: bool) -> Json:
    text = _said(message)
    wire: Json = {"role": "assistant", "content": text or None}
    if calls := message.calls:
        wire["tool_calls"] = [_call(call, quirks) for call in calls]
    elif not text:
        wire["content"] = "(no answer)"
    if thinks:
        wire |= terms.thought("".join(part.text for part in message.parts if isinstance(part, Thinking)))
    return wire


def _said(message: AssistantMessage) -> str:
    """What the model said. Of what it showed a note goes back: this protocol takes no media of an assistant's."""
    return "\n".join(filter(None, (message.text, *map(named, message.media)))) if message.media else message.text


def _call(call: ToolCall, quirks: Quirks) -> Json:
    function = {"name": tool_name(call.name), "arguments": json_object(call.arguments)}
    return {"id": _id(call.id, quirks), "type": "function", "function": function}


def _id(call: str, quirks: Quirks) -> str:
    return hashlib.sha256(call.encode("utf-8", "replace")).hexdigest()[:9] if quirks.short_ids else call
