"""The body of an OpenAI chat completion."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from roost.log.content import (
    AssistantMessage,
    Audio,
    File,
    Image,
    Media,
    Message,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from roost.models.knobs import knobs_of, turn
from roost.models.profile import Knob, Profile, ThinkingBack
from roost.models.prompt import Prompt
from roost.models.wire_body import MUST_CALL, Json, closed, json_object, location, named, takes, tool_name
from roost.models.wires.openai_chat.reasoning import Unsigned, back_of, kept, mark_unsigned, vendor
from roost.models.wires.openai_chat.tags import ThinkTags

NAME = "openai_chat"
KNOBS = {
    "temperature": Knob(field="temperature"),
    "top_p": Knob(field="top_p"),
    "seed": Knob(field="seed"),
    "modalities": Knob(field="modalities"),
    "audio": Knob(field="audio"),
}


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server's deviations from the common protocol."""

    max_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    stream_usage: bool = True
    send_reasoning: bool = False
    """Reasoning of the running turn must be sent back with its tool calls."""
    reasoning_field: Literal["reasoning_content", "reasoning", "none"] = "reasoning_content"
    """The field of an assistant message for its reasoning; `none`: the server refuses every such field."""
    think_tags: ThinkTags = "start"
    """Where reasoning may stand in the text, between `<think>` and `</think>`; see `Tags`."""
    text_calls: bool = False
    """Calls may come as text (`<tool_call>`), because the server runs the model without a parser for them. Off by
    default, because a model may quote such text from a file."""
    forced_tools: bool = True
    """The server accepts `tool_choice` `required`; without it the model is asked in words."""
    unsigned: Unsigned | None = None
    """How to mark calls that Google's models did not sign."""
    cache_marks: tuple[str, ...] = ()
    """Vendors of models (`claude`) whose prompts are cached only at marks (`cache_control`)."""
    finish_reasons: dict[str, StopReason] = {}
    """Meanings of the server's own unusual finish reasons."""
    short_ids: bool = False
    """Call ids must be nine letters or digits."""


def media_part(part: Media) -> Json | None:
    """Return the part in the common form; None if it cannot be sent."""
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


MOST_STOP_WORDS = 4
"""Stop words that OpenAI and most others accept. The wire applies further ones itself."""
_MARK = {"type": "ephemeral"}


def reasoning_content(text: str) -> Json:
    """Return the field of an assistant message that holds its reasoning."""
    return {"reasoning_content": text}


def reasoning_if_any(text: str) -> Json:
    return reasoning_content(text) if text else {}


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Deviations of another wire, named `wire`, that shares the protocol."""

    wire: str = NAME
    knobs: Mapping[str, Knob] = msgspec.field(default_factory=lambda: KNOBS)
    part: Callable[[Media], Json | None] = media_part
    thought: Callable[[str], Json] = reasoning_content


OWN = Terms()


def body_of(
    prompt: Prompt,
    model: str,
    profile: Profile,
    quirks: Quirks,
    *,
    stream: bool,
    terms: Terms = OWN,
    origin: str | None = None,
) -> Json:
    """Make the body. origin: the reader of the signatures to send back; None sends none."""
    choice, blocks = prompt.tool_choice, prompt.system
    if choice == "required" and not _may_force(quirks, model, profile):
        choice, blocks = "auto", (*blocks, MUST_CALL)
    system = "\n\n".join(blocks)
    messages = compile_messages(
        prompt.messages, profile=profile, quirks=quirks, terms=terms, model=model, origin=origin
    )
    body: Json = {
        "model": model,
        "messages": [{"role": "system", "content": system}, *messages] if system else messages,
    }
    if vendor(model) in quirks.cache_marks:
        _mark(body["messages"], prompt, stable=not blocks[len(prompt.system) :])
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
        body["tool_choice"] = choice
    if prompt.output_schema is not None:
        schema = prompt.output_schema
        shape = {"name": "output", "schema": schema, "strict": closed(schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": shape}
    if prompt.max_output is not None:
        body[quirks.max_field] = prompt.max_output
    if stops := [stop for stop in prompt.stop if stop]:
        body["stop"] = stops[:MOST_STOP_WORDS]
    turn(body, knobs_of(profile, terms.knobs), prompt.knobs)
    return body


def _may_force(quirks: Quirks, model: str, profile: Profile) -> bool:
    # Claude refuses a forced call while it thinks, so a model that always thinks cannot be forced.
    return quirks.forced_tools and not (vendor(model) == "claude" and profile.thinks == "always")


def _mark(messages: list[Json], prompt: Prompt, *, stable: bool) -> None:
    """Set cache marks as Anthropic does: after the system (which also covers the tools), and after the last two
    messages that are not the model's. All of these are sent as parts, so that none changes when a mark moves."""
    inputs = [message for message in messages if message["role"] != "assistant"]
    for message in inputs:
        if isinstance(message["content"], str):
            message["content"] = [{"type": "text", "text": message["content"]}]
    system = inputs[:1] if inputs and inputs[0]["role"] == "system" else []
    if stable and prompt.stable_system == len(prompt.system):
        for message in system:
            message["content"][-1]["cache_control"] = _MARK
    turns = inputs[len(system) :]
    # Text that only this request has is at the end, and not worth caching.
    turns = turns if prompt.stable == len(prompt.messages) else turns[:-1]
    for message in turns[-2:]:
        message["content"][-1]["cache_control"] = _MARK


def compile_messages(
    messages: Sequence[Message],
    *,
    profile: Profile | None = None,
    quirks: Quirks | None = None,
    terms: Terms = OWN,
    model: str = "",
    origin: str | None = None,
) -> list[Json]:
    """Make the messages. Arguments that are not a JSON object are sent as one that contains the text, because servers
    parse them."""
    quirks, profile = quirks or Quirks(), profile or Profile()
    back = _back(profile, quirks, model)
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
                made = _assistant(message, quirks, terms, origin, thinks=thinks)
                if quirks.unsigned and vendor(model) == "gemini" and "tool_calls" in made:
                    mark_unsigned(made, quirks.unsigned)
                wire.append(made)
            case ToolMessage():
                text = _text(message.parts) or "(no output)"
                wire.append({"role": "tool", "tool_call_id": _id(message.call, quirks), "content": text})
                sent = (_part(part, profile, terms) for part in message.parts if not isinstance(part, Text))
                shown += [part for part in sent if part["type"] != "text"]
    return [*wire, _shown(shown)] if shown else wire


def _back(profile: Profile, quirks: Quirks, model: str) -> ThinkingBack:
    """Return the profile's setting, else that of models with this name, else the account's."""
    if quirks.reasoning_field == "none":
        return "none"
    if profile.thinking_back is not None:
        return profile.thinking_back
    known = back_of(model)
    return known if known != "none" else "turn" if quirks.send_reasoning else "none"


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
    # A tool message accepts only text on this wire.
    what = "images" if all(part["type"] == "image_url" for part in media) else "media"
    return {"role": "user", "content": [{"type": "text", "text": f"The {what} of the tools:"}, *media]}


def _assistant(message: AssistantMessage, quirks: Quirks, terms: Terms, origin: str | None, *, thinks: bool) -> Json:
    text = _text_of(message)
    wire: Json = {"role": "assistant", "content": text or None}
    details, extras = kept(message, origin) if origin else ([], {})
    if calls := message.calls:
        wire["tool_calls"] = [_call(call, quirks, extras.get(call.id)) for call in calls]
    elif not text:
        wire["content"] = "(no answer)"
    if details:
        wire["reasoning_details"] = details
    elif thinks:
        thought = terms.thought("".join(part.text for part in message.parts if isinstance(part, Thinking)))
        if "reasoning_content" in thought and quirks.reasoning_field == "reasoning":
            thought = {"reasoning": thought["reasoning_content"]}
        wire |= thought
    return wire


def _text_of(message: AssistantMessage) -> str:
    """Return the model's text. Its media become notes: this protocol accepts none in an assistant message."""
    return "\n".join(filter(None, (message.text, *map(named, message.media)))) if message.media else message.text


def _call(call: ToolCall, quirks: Quirks, extra: Any = None) -> Json:
    function = {"name": tool_name(call.name), "arguments": json_object(call.arguments)}
    wire: Json = {"id": _id(call.id, quirks), "type": "function", "function": function}
    return {**wire, "extra_content": extra} if extra else wire


def _id(call: str, quirks: Quirks) -> str:
    return hashlib.sha256(call.encode("utf-8", "replace")).hexdigest()[:9] if quirks.short_ids else call
