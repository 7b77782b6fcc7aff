"""The bodies of MiniMax's interfaces.

Facts from platform.minimax.io and platform.minimaxi.com (Text Generation, Chat Completions, Messages, Compatible
Anthropic API, Error Codes), read in November 2026. All three: a temperature above 0, no schema for the answer, stop
words without effect. `text` is `/v1/text/chatcompletion_v2`: pictures, `tool_choice` auto or none, no setting for
thinking. `chat` is `/v1/chat/completions`: the same plus videos and thinking, which `reasoning_split` separates from
the text. `messages` is `/anthropic/v1/messages`: signed thinking, cache marks, every `tool_choice`, pictures and videos
as blocks, no documents.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from roost.log.content import Image, Media, Video
from roost.models.profile import Knob, Profile
from roost.models.prompt import Prompt
from roost.models.wire_body import Json, in_words
from roost.models.wires.anthropic import request as anthropic
from roost.models.wires.openai_chat import request as chat

NAME = "minimax"
PATHS: dict[str, str] = {
    "messages": "anthropic/v1/messages",
    "chat": "v1/chat/completions",
    "text": "v1/text/chatcompletion_v2",
}
_SAMPLING = {
    "temperature": Knob(field="temperature", low=0.01, high=1),
    "top_p": Knob(field="top_p", low=0.01, high=1),
}
_THINKING = {"effort": Knob(field="thinking.type", values={"off": "disabled", "high": "adaptive"})}
"""Knobs of M3, whose thinking is on or off; M2 always thinks."""
KNOBS: dict[str, dict[str, Knob]] = {
    "messages": {**_SAMPLING, **_THINKING, "cache": anthropic.KNOBS["cache"]},
    "chat": {**_SAMPLING, **_THINKING},
    "text": _SAMPLING,
}


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """interface: which of the three interfaces to use."""

    interface: Literal["messages", "chat", "text"] = "messages"


def _picture(part: Media) -> Json | None:
    return chat.media_part(part) if isinstance(part, Image) else None


def _seen(part: Media) -> Json | None:
    return chat.media_part(part) if isinstance(part, Image | Video) else None


def _details(text: str) -> Json:
    """Return reasoning in the server's form."""
    detail = {
        "type": "reasoning.text",
        "id": "reasoning-text-1",
        "format": "MiniMax-response-v1",
        "index": 0,
        "text": text,
    }
    return {"reasoning_details": [detail]} if text else {}


_CHAT = chat.Quirks(max_field="max_completion_tokens")
TERMS = {
    "chat": chat.Terms(wire=NAME, knobs=KNOBS["chat"], part=_seen, thought=_details),
    "text": chat.Terms(wire=NAME, knobs=KNOBS["text"], part=_picture, thought=chat.reasoning_if_any),
}
BLOCKS = anthropic.Terms(wire=NAME, knobs=KNOBS["messages"], media=(Image, Video), thinks_alone=False)


def body_of(prompt: Prompt, model: str, profile: Profile, interface: str, *, stream: bool) -> Json:
    """Make the body. All reasoning is sent back unless the profile says otherwise: the server requires complete
    answers."""
    schema = prompt.output_schema
    system = prompt.system if schema is None else (*prompt.system, in_words(schema))
    plain = msgspec.structs.replace(prompt, system=system, output_schema=None, stop=())
    if interface == "messages":
        return anthropic.body_of(plain, model, profile, stream=stream, terms=BLOCKS)
    plain = msgspec.structs.replace(plain, tool_choice="none" if prompt.tool_choice == "none" else "auto")
    back = msgspec.structs.replace(profile, thinking_back=profile.thinking_back or "all")
    body = chat.body_of(plain, model, back, _CHAT, stream=stream, terms=TERMS[interface])
    return {**body, "reasoning_split": True} if interface == "chat" else body
