"""Chat completions servers that differ from OpenAI's, each under its own path, as strict as the real ones.

`/openrouter/v1` sends and requires `reasoning_details` (Gemini: encrypted and signed for each message with calls;
Claude: signed text), `/gemini/v1beta/openai` signs calls in `extra_content` and refuses unknown fields, `/deepseek/v1`
and `/kimi/v1` require `reasoning_content` with earlier messages, `/plain/v1` is a server without parsers, which leaves
reasoning and calls in the text. From the providers' documentation and public issues, November 2026.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from roost.log.content import ToolCall
from roost.stub.dialects.base import Asked, Dialect
from roost.stub.dialects.checks import as_dict, need
from roost.stub.dialects.openai_chat import DONE, OpenAIChat
from roost.stub.dialects.openai_chat_check import check_openai_request
from roost.stub.script import Reply

Json = dict[str, Any]
SKIP = "skip_thought_signature_validator"
_MISSING = "Function call is missing a thought_signature in functionCall parts. This is required for tools to work"


def proof(text: str) -> str:
    """Return the stub's signature of a text or a call, so that a changed one is detected when it comes back."""
    return "proof_" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


class _Server(OpenAIChat):
    """Turns OpenAI's answer into the server's: `turned` changes a message or a delta in place."""

    _extra: frozenset[str] = frozenset()
    """Fields of messages that this server accepts beside OpenAI's."""

    def check(self, body: Json, headers: Mapping[str, str]) -> None:
        messages = [as_dict(message) for message in body.get("messages") or ()]
        self.check_history(body, messages)
        plain = [{key: value for key, value in message.items() if key not in self._extra} for message in messages]
        check_openai_request({**body, "messages": plain})

    def check_history(self, body: Json, messages: list[Json]) -> None:
        """Raise `AssertionError` with the server's own message."""

    def frames(self, reply: Reply, asked: Asked, *, finish: bool = True) -> list[bytes]:
        frames: list[bytes] = []
        for frame in super().frames(reply, asked, finish=finish):
            if frame == DONE:
                frames.append(frame)
                continue
            chunk = msgspec.json.decode(frame.removeprefix(b"data: "))
            for choice in chunk["choices"]:
                self.turned(choice["delta"], asked, reply)
            frames.append(b"data: " + msgspec.json.encode(chunk) + b"\n\n")
        return frames

    def document(self, reply: Reply, asked: Asked) -> bytes:
        completion = msgspec.json.decode(super().document(reply, asked))
        for choice in completion["choices"]:
            self.turned(choice["message"], asked, reply)
        return msgspec.json.encode(completion)

    def turned(self, message: Json, asked: Asked, reply: Reply) -> None: ...


class OpenRouter(_Server):
    name, path = "openai_chat by OpenRouter", "/openrouter/v1/chat/completions"
    _extra = frozenset({"reasoning", "reasoning_details", "cache_control"})

    def turned(self, message: Json, asked: Asked, reply: Reply) -> None:
        details: list[Json] = []
        if thought := message.pop("reasoning_content", None):
            message["reasoning"] = thought
            details.append({"type": "reasoning.text", "text": thought, "format": _format(asked.model), "index": 0})
        if "gemini" in asked.model:
            for call in message.get("tool_calls") or ():
                if call.get("id") and call.get("index", 0) == 0:
                    sealed = {"type": "reasoning.encrypted", "data": proof(call["id"]), "id": call["id"]}
                    details.append({**sealed, "format": _format(asked.model), "index": len(details)})
        if details:
            message["reasoning_details"] = details

    def frames(self, reply: Reply, asked: Asked, *, finish: bool = True) -> list[bytes]:
        frames = super().frames(reply, asked, finish=finish)
        last = max((at for at, frame in enumerate(frames) if b'"reasoning"' in frame), default=None)
        if last is not None and "claude" in asked.model:
            # The signature comes in a frame of its own, after the text that it signs.
            chunk = msgspec.json.decode(frames[last].removeprefix(b"data: "))
            detail = {"type": "reasoning.text", "signature": proof(reply.thinking), "format": _format(asked.model)}
            chunk["choices"][0]["delta"] = {"reasoning_details": [{**detail, "index": 0}]}
            frames.insert(last + 1, b"data: " + msgspec.json.encode(chunk) + b"\n\n")
        return frames

    def document(self, reply: Reply, asked: Asked) -> bytes:
        completion = msgspec.json.decode(super().document(reply, asked))
        if reply.thinking and "claude" in asked.model:
            completion["choices"][0]["message"]["reasoning_details"][0]["signature"] = proof(reply.thinking)
        return msgspec.json.encode(completion)

    def check_history(self, body: Json, messages: list[Json]) -> None:
        model = str(body.get("model"))
        for at, message in enumerate(messages):
            details = [as_dict(detail) for detail in message.get("reasoning_details") or ()]
            if "gemini" in model and message.get("tool_calls") and _runs(messages, at):
                sealed = [one for one in details if one.get("type") == "reasoning.encrypted"]
                need(bool(sealed), _MISSING)
                known = (SKIP, proof(str(sealed[0].get("id"))))
                need(sealed[0].get("data") in known, "Thought signature is not valid")
            if "claude" in model and details:
                text = "".join(str(detail.get("text") or "") for detail in details)
                signatures = [one["signature"] for one in details if one.get("signature")]
                need(signatures == [proof(text)], f"messages.{at}: invalid `signature` in `thinking` block")
            blocks = {(one.get("type"), one.get("index")) for one in details}
            need(len(blocks) == len(details), f"messages.{at}: reasoning_details are in fragments")


class Google(_Server):
    name, path = "openai_chat by Google", "/gemini/v1beta/openai/chat/completions"

    def turned(self, message: Json, asked: Asked, reply: Reply) -> None:
        message.pop("reasoning_content", None)
        for number, call in enumerate(message.get("tool_calls") or ()):
            if call.get("id") and call.get("index", number) == 0:
                call["extra_content"] = {"google": {"thought_signature": proof(call["id"])}}

    def check_history(self, body: Json, messages: list[Json]) -> None:
        for at, message in enumerate(messages):
            for field in ("reasoning_content", "reasoning", "reasoning_details"):
                need(field not in message, f'Invalid JSON payload received. Unknown name "{field}": Cannot find field.')
            calls = [as_dict(call) for call in message.get("tool_calls") or ()]
            signed = [
                as_dict(as_dict(call.get("extra_content")).get("google")).get("thought_signature") for call in calls
            ]
            need(not calls or not _runs(messages, at) or bool(signed[0]), _MISSING)
            for call, signature in zip(calls, signed, strict=True):
                need(signature in (None, SKIP, proof(str(call.get("id")))), "Thought signature is not valid")


class DeepSeek(_Server):
    name, path = "openai_chat by DeepSeek", "/deepseek/v1/chat/completions"
    _words = "The `reasoning_content` in the thinking mode must be passed back to the API."
    _all = False

    def check_history(self, body: Json, messages: list[Json]) -> None:
        if as_dict(body.get("thinking")).get("type") == "disabled":
            return
        forced = body.get("tool_choice", "auto") not in ("auto", "none")
        need(not forced, "Thinking mode does not support this tool_choice")
        for message in messages:
            if message.get("role") == "assistant" and (self._all or message.get("tool_calls")):
                need(isinstance(message.get("reasoning_content"), str), self._words)


class Kimi(DeepSeek):
    """Reports usage inside the choice."""

    name, path = "openai_chat by Moonshot", "/kimi/v1/chat/completions"
    _words = "thinking is enabled but reasoning_content is missing in assistant tool call message"
    _all = True

    def frames(self, reply: Reply, asked: Asked, *, finish: bool = True) -> list[bytes]:
        *frames, last, done = super().frames(reply, asked, finish=finish)
        chunk = msgspec.json.decode(last.removeprefix(b"data: "))
        if not chunk.get("usage"):
            return [*frames, last, done]
        end = msgspec.json.decode(frames[-1].removeprefix(b"data: "))
        end["choices"][0]["usage"] = chunk["usage"]
        return [*frames[:-1], b"data: " + msgspec.json.encode(end) + b"\n\n", done]


class Plain(_Server):
    """Calls are in the text of the answer, as Hermes and Qwen write them."""

    name, path = "openai_chat without parsers", "/plain/v1/chat/completions"

    def frames(self, reply: Reply, asked: Asked, *, finish: bool = True) -> list[bytes]:
        return super().frames(_in_text(reply, asked), asked, finish=finish)

    def document(self, reply: Reply, asked: Asked) -> bytes:
        return super().document(_in_text(reply, asked), asked)


SERVERS: tuple[Dialect, ...] = (OpenRouter(), Google(), DeepSeek(), Kimi(), Plain())


def _in_text(reply: Reply, asked: Asked) -> Reply:
    calls = [part for part in reply.parts(len(asked.messages)) if isinstance(part, ToolCall)]
    thought = f"<think>\n{reply.thinking}\n</think>\n\n" if reply.thinking else ""
    calls_in_text = [
        f'<tool_call>\n{{"name": "{call.name}", "arguments": {call.arguments}}}\n</tool_call>' for call in calls
    ]
    text = thought + "\n".join(filter(None, (reply.text, *calls_in_text)))
    return msgspec.structs.replace(reply, text=text, thinking="", calls=(), stop=reply.stop or "end")


def _format(model: str) -> str:
    return next((form for name, form in _FORMATS.items() if name in model), "unknown")


_FORMATS = {"claude": "anthropic-claude-v1", "gemini": "google-gemini-v1", "gpt": "openai-responses-v1"}


def _runs(messages: list[Json], at: int) -> bool:
    """Return whether the message belongs to the running turn; only that turn is checked."""
    return not any(message.get("role") == "user" for message in messages[at:])
