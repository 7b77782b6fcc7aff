"""Reasoning and calls inside the text, from a server that runs the model without a parser for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast

import msgspec

from roost.models.wire_body import Json, clean, encode, is_json_object

ThinkTags: TypeAlias = Literal["none", "start", "open"]
"""start: reasoning may stand between `<think>` and `</think>` at the start of the text. open: the prompt template has
already opened the tag, so the text starts with reasoning. none: tags are text."""

_OPEN, _CLOSE = ("<think>", "<thought>", "<thinking>"), re.compile(r"</(?:think|thought|thinking)>")
_LONGEST_CLOSE = len("</thinking>")
_CALL = "<tool_call>"
_CALLS = re.compile(r"\s*<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"\s*<function=([^>\s]+)>(.*?)(?:</function>)?\s*\Z", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\s]+)>\n?(.*?)\n?(?=</parameter>|<parameter=|\Z)", re.DOTALL)


class Tags:
    """Splits streamed text into reasoning and text. With `tools` (schemas by name), calls of these tools at the end of
    the text (`<tool_call>` of Hermes and Qwen, as JSON or as XML) are held back until `rest`."""

    def __init__(self, think: ThinkTags, tools: Mapping[str, Json] | None = None) -> None:
        self._tools = tools or {}
        self._held = ""
        self._state: Literal["start", "think", "text", "calls"] = "text" if think == "none" else "start"
        if think == "open":
            self._state = "think"
        self._line = True
        self._before = self._after = False
        """Whether the whitespace after the opening tag, or after the closing tag, may still come."""

    def take(self, piece: str) -> tuple[str, str]:
        """Return (reasoning, text) that can be shown now."""
        if self._state == "text" and not self._tools and not self._after:
            return "", piece
        text, self._held = self._held + piece, ""
        thought = ""
        if self._state == "start":
            text = self._start(text)
        if self._state == "think":
            thought, text = self._think(text)
        if self._after:
            text = text.lstrip()
            self._after = not text
        if self._state == "text" and self._tools:
            text = self._text(text)
        elif self._state == "calls":
            text, self._held = "", text
        return thought, text

    def rest(self, *, finished: bool = True) -> tuple[str, str, list[tuple[str, str]]]:
        """Return (reasoning, text, calls) from the text held back. Calls are (name, arguments); without `finished` they
        may be cut and are returned as text."""
        held, self._held = self._held, ""
        if self._state == "think":
            return held, "", []
        if self._state == "calls" and (calls := self._calls(held, finished=finished)):
            return "", "", calls
        return "", held, []

    def _start(self, text: str) -> str:
        head = text.lstrip()
        tag = next((tag for tag in _OPEN if head.startswith(tag)), None)
        if tag is not None:
            self._state, self._before = "think", True
            return head[len(tag) :]
        if any(tag.startswith(head) for tag in _OPEN):
            self._held = text
            return ""
        self._state = "text"
        return text

    def _think(self, text: str) -> tuple[str, str]:
        if self._before and text:
            text, self._before = text.removeprefix("\n"), False
        if end := _CLOSE.search(text):
            self._state, self._after = "text", True
            return text[: end.start()].removesuffix("\n"), text[end.end() :]
        # Hold back a possible closing tag, with the line feed before it.
        keep = next((n for n in range(min(_LONGEST_CLOSE, len(text)), 0, -1) if _may_close(text[-n:])), 0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], ""

    def _text(self, text: str) -> str:
        at = text.find(_CALL)
        while at >= 0:
            before = text[:at].rpartition("\n")[2]
            if not before.strip() and (self._line or "\n" in text[:at]):
                self._state, self._held = "calls", text[at:]
                return text[:at]
            at = text.find(_CALL, at + 1)
        keep = next((n for n in range(min(len(_CALL) - 1, len(text)), 0, -1) if text.endswith(_CALL[:n])), 0)
        self._held = text[len(text) - keep :]
        shown = text[: len(text) - keep]
        if shown:
            line = shown.rpartition("\n")[2]
            self._line = not line.strip() and (self._line or "\n" in shown)
        return shown

    def _calls(self, held: str, *, finished: bool) -> list[tuple[str, str]]:
        """Return the calls where the held text is nothing but calls of known tools, else none."""
        calls: list[tuple[str, str]] = []
        while held.strip():
            match = _CALLS.match(held)
            call = match and self._call(match[1])
            if not match or call is None or (not finished and not match[0].endswith("</tool_call>")):
                return []
            calls.append(call)
            held = held[match.end() :]
        return calls

    def _call(self, text: str) -> tuple[str, str] | None:
        if match := _FUNCTION.match(text):
            schema = self._tools.get(match[1])
            if schema is None:
                return None
            known: Json = schema.get("properties") or {}
            arguments = {name: _value(value, known.get(name)) for name, value in _PARAMETER.findall(match[2])}
            return match[1], encode(arguments).decode()
        try:
            read = msgspec.json.decode(text.strip())
        except (ValueError, RecursionError):
            return None
        call = cast("Json", read) if isinstance(read, dict) else {}
        name, arguments = call.get("name"), call.get("arguments", call.get("parameters", {}))
        if name not in self._tools:
            return None
        arguments = (
            msgspec.json.decode(arguments) if isinstance(arguments, str) and is_json_object(arguments) else arguments
        )
        return str(name), msgspec.json.encode(clean(arguments)).decode()


def _may_close(end: str) -> bool:
    end = end.removeprefix("\n")
    return any(f"</{tag[1:]}".startswith(end) for tag in _OPEN) if end else True


def _value(text: str, schema: Any) -> Any:
    """Parse a value of the XML form, which has no types; the tool's schema says whether it is a string."""
    if isinstance(schema, dict) and cast("Json", schema).get("type") == "string":
        return text
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text
