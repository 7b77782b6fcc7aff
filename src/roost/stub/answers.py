"""Scripted answers of a scripted model and the stub provider."""

from __future__ import annotations

from typing import Any

import msgspec

from roost.log.content import AssistantPart, Audio, ErrorData, Image, StopReason, Text, Thinking, ToolCall, Usage, Video

_USAGE = Usage(input=100, output=20)


class Call(msgspec.Struct, frozen=True):
    """A scripted tool call. `arguments`: an object, or raw text, which may be invalid JSON. Without `id` the call gets
    one that follows from the transcript alone."""

    name: str
    arguments: dict[str, Any] | str = {}
    id: str | None = None

    @property
    def text(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else msgspec.json.encode(self.arguments).decode()


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One scripted answer. `delay`: seconds before the first delta. `pace`: seconds between deltas of `piece`
    characters. With `error` the call fails after `delay`, without any content."""

    text: str = ""
    thinking: str = ""
    media: tuple[Image | Audio | Video, ...] = ()
    calls: tuple[Call, ...] = ()
    stop: StopReason | None = None
    usage: Usage = _USAGE
    delay: float = 0.0
    pace: float = 0.0
    piece: int = 20
    error: ErrorData | None = None

    def parts(self, step: int) -> tuple[AssistantPart, ...]:
        parts: list[AssistantPart] = [Thinking(self.thinking)] if self.thinking else []
        if self.text:
            parts.append(Text(self.text))
        parts += self.media
        parts += [ToolCall(c.id or f"call_{step}_{i}", c.name, c.text) for i, c in enumerate(self.calls)]
        return tuple(parts)

    @property
    def reason(self) -> StopReason:
        return self.stop or ("tool_calls" if self.calls else "end")


def pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), max(1, size))]
