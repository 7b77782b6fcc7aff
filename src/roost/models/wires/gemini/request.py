"""The body of a Gemini request."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from roost.log.content import (
    AssistantMessage,
    Audio,
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
from roost.models.wire_body import Json, in_words, json_object, named, takes, tool_name
from roost.models.wires.assembly import origin_of
from roost.models.wires.gemini.schema import fitted

NAME = "gemini"
_CONFIG = "generationConfig"
_THINKING = f"{_CONFIG}.thinkingConfig"
KNOBS = {
    "temperature": Knob(field=f"{_CONFIG}.temperature", low=0, high=2),
    "top_p": Knob(field=f"{_CONFIG}.topP"),
    "top_k": Knob(field=f"{_CONFIG}.topK"),
    "seed": Knob(field=f"{_CONFIG}.seed"),
    "effort": Knob(
        field=_THINKING,
        values={
            "off": {"thinkingLevel": "MINIMAL"},
            "low": {"thinkingLevel": "LOW", "includeThoughts": True},
            "medium": {"thinkingLevel": "MEDIUM", "includeThoughts": True},
            "high": {"thinkingLevel": "HIGH", "includeThoughts": True},
        },
    ),
    "thinking_budget": Knob(field=f"{_THINKING}.thinkingBudget"),
    "modalities": Knob(field=f"{_CONFIG}.responseModalities"),
    "audio": Knob(field=f"{_CONFIG}.speechConfig"),
    "image": Knob(field=f"{_CONFIG}.imageConfig"),
}
"""Knobs of the newest models, whose thinking cannot be switched off."""
UNSIGNED = "skip_thought_signature_validator"
"""The value that Google's guide to thought signatures gives for calls made by another model."""
MOST_STOP_WORDS = 5
_STARTS = re.compile(r"[A-Za-z_]")


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model's deviations from the newest ones. schema_with_tools: JSON output can be requested together with
    tools."""

    schema_with_tools: bool = True


def body_of(prompt: Prompt, profile: Profile, quirks: Quirks) -> Json:
    config: Json = {}
    body: Json = {"contents": compile_contents(prompt.messages, profile)}
    system = list(prompt.system)
    if prompt.output_schema is not None:
        if prompt.tools and not quirks.schema_with_tools:
            system.append(in_words(prompt.output_schema))
        else:
            config["responseMimeType"] = "application/json"
            config["responseJsonSchema"] = fitted(prompt.output_schema)
    if system:
        body["systemInstruction"] = {"parts": [{"text": block} for block in system]}
    if prompt.tools:
        declared = [
            {"name": tool.name, "description": tool.description, "parametersJsonSchema": fitted(tool.schema)}
            for tool in prompt.tools
        ]
        body["tools"] = [{"functionDeclarations": declared}]
        mode = {"auto": "AUTO", "none": "NONE", "required": "ANY"}[prompt.tool_choice]
        body["toolConfig"] = {"functionCallingConfig": {"mode": mode}}
    if prompt.max_output is not None:
        config["maxOutputTokens"] = prompt.max_output
    if stops := [stop for stop in prompt.stop if stop]:
        config["stopSequences"] = stops[:MOST_STOP_WORDS]
    body[_CONFIG] = config
    turn(body, knobs_of(profile, KNOBS), prompt.knobs)
    thinking: Json = config.get("thinkingConfig") or {}
    if "thinkingBudget" in thinking:
        # The server accepts only one of the two.
        thinking.pop("thinkingLevel", None)
    if not config:
        del body[_CONFIG]
    return body


def compile_contents(messages: Sequence[Message], profile: Profile) -> list[Json]:
    """Make the contents. All results of one message's calls form one content, in the order of the calls, because Gemini
    pairs them by position; media of results follow. A call made by another family gets `UNSIGNED` if the profile says
    that the model must be sent its own reasoning. Older turns get it too, although not required, so that they never
    change."""
    origin = None if profile.thinking_back == "none" else origin_of(NAME, profile)
    insists = profile.thinking_back in ("turn", "all")
    contents: list[Json] = []
    calls: list[ToolCall] = []
    results: dict[str, ToolMessage] = {}
    for message in messages:
        if not isinstance(message, ToolMessage):
            _answer(contents, calls, results, profile)
        match message:
            case UserMessage():
                _add(contents, "user", _parts(message.parts, profile) or [{"text": "(empty)"}])
            case AssistantMessage():
                parts = _assistant(message, origin, profile) or [{"text": "(no answer)"}]
                if insists:
                    _sign(parts)
                _add(contents, "model", parts)
                calls = message.calls
            case ToolMessage():
                results[message.call] = message
    _answer(contents, calls, results, profile)
    return contents


def _add(contents: list[Json], role: str, parts: list[Json]) -> None:
    last = contents[-1] if contents else None
    # Results are separate contents: their number must equal that of the calls before.
    if last is not None and last["role"] == role and "functionResponse" not in last["parts"][0]:
        last["parts"] += parts
    else:
        contents.append({"role": role, "parts": parts})


def _answer(contents: list[Json], calls: list[ToolCall], results: dict[str, ToolMessage], profile: Profile) -> None:
    answers = [results[call.id] for call in calls if call.id in results]
    results.clear()
    if not answers:
        return
    contents.append({"role": "user", "parts": [_result(result, profile) for result in answers]})
    shown = [part for result in answers for part in result.parts if not isinstance(part, Text) and takes(profile, part)]
    if shown:
        _add(contents, "user", [{"text": "What the tools showed:"}, *map(_media, shown)])


def _result(message: ToolMessage, profile: Profile) -> Json:
    text = "\n".join(part.text if isinstance(part, Text) else named(part) for part in message.parts)
    response = {"error" if message.error else "output": text or "(no output)"}
    return {"functionResponse": {"id": message.call, "name": function_name(message.name), "response": response}}


def _assistant(message: AssistantMessage, origin: str | None, profile: Profile) -> list[Json]:
    """Make the parts of an assistant message. A signature is sent back on exactly the part that it came with. A picture
    is sent back to a model with vision, which may be asked to change it."""
    parts: list[Json] = []
    signature: str | None = None
    for part in message.parts:
        match part:
            case Thinking():
                ours = origin is not None and part.origin == origin
                if part.text and part.signature and ours:
                    parts.append({"text": part.text, "thought": True, "thoughtSignature": part.signature})
                elif part.signature and ours and not part.redacted:
                    if signature:
                        parts.append(_signed({"text": ""}, signature))
                    signature = part.signature
                continue
            case Text():
                if not part.text:
                    continue
                sent: Json = {"text": part.text}
            case ToolCall():
                arguments = msgspec.Raw(json_object(part.arguments).encode())
                sent = {"functionCall": {"id": part.id, "name": function_name(part.name), "args": arguments}}
            case Image() if takes(profile, part):
                sent = _media(part)
            case Image() | Audio() | Video():
                sent, signature = {"text": named(part)}, None
        parts.append(_signed(sent, signature))
        signature = None
    if signature:
        parts.append(_signed({"text": ""}, signature))
    # A signature alone is not a valid message.
    return parts if any("text" not in part or (part["text"] and not part.get("thought")) for part in parts) else []


def _signed(part: Json, signature: str | None) -> Json:
    return {**part, "thoughtSignature": signature} if signature else part


def _sign(parts: list[Json]) -> None:
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None:
        first.setdefault("thoughtSignature", UNSIGNED)


def _parts(parts: Sequence[Text | Media], profile: Profile) -> list[Json]:
    sent: list[Json] = []
    for part in parts:
        if isinstance(part, Text):
            if part.text:
                sent.append({"text": part.text})
        else:
            sent.append(_media(part) if takes(profile, part) else {"text": named(part)})
    return sent


def _media(part: Media) -> Json:
    if part.url is not None and not part.data:
        return {"fileData": {"mimeType": part.media_type, "fileUri": part.url}}
    return {"inlineData": {"mimeType": part.media_type, "data": part.data}}


def function_name(name: str) -> str:
    """Return the name as this protocol accepts it: it must not start with a digit or a dash."""
    name = tool_name(name)
    return name if _STARTS.match(name) else f"_{name}"[:64]
