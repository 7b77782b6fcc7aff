"""MiniMax's protocols, from the server's side: messages, chat and text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from roost.stub.dialects.anthropic import Anthropic
from roost.stub.dialects.base import Asked, Dialect
from roost.stub.dialects.minimax_check import check_chat_request, check_messages_request, check_text_request
from roost.stub.dialects.openai_chat import DONE, OpenAIChat
from roost.stub.script import Reply

Json = dict[str, Any]
FINE: Json = {"status_code": 0, "status_msg": ""}
_CODED = re.compile(r"(\d{4}): (.*)", re.DOTALL)
_NUMBERS = {400: 2013, 401: 1004, 402: 1008, 403: 1004, 408: 1001, 413: 2013, 422: 2013, 429: 1002}


class Messages(Anthropic):
    """An error message may begin with a number of MiniMax's own (`1008: ...`), which is then moved behind it."""

    name = "minimax"
    path = "/anthropic/v1/messages"

    def check(self, body: Json, headers: Mapping[str, str]) -> None:
        check_messages_request(body, signed)

    def frames(self, reply: Reply, asked: Asked, *, finish: bool = True) -> list[bytes]:
        frames: list[bytes] = []
        thought = ""
        for frame in super().frames(_unsealed(reply), asked, finish=finish):
            event: Json = msgspec.json.decode(frame.partition(b"data: ")[2])
            delta = event.get("delta", {})
            thought += delta.get("thinking", "")
            if delta.get("type") == "signature_delta":
                delta["signature"], thought = signed(thought), ""
            frames.append(f"event: {event['type']}\n".encode() + b"data: " + msgspec.json.encode(event) + b"\n\n")
        return frames

    def document(self, reply: Reply, asked: Asked) -> bytes:
        message: Json = msgspec.json.decode(super().document(_unsealed(reply), asked))
        for block in message["content"]:
            if block["type"] == "thinking":
                block["signature"] = signed(block["thinking"])
        return msgspec.json.encode({**message, "base_resp": FINE})

    def error(self, status: int, message: str, code: str | None = None) -> Json:
        document = super().error(status, message, code)
        if coded := _CODED.fullmatch(message):
            document["error"]["message"] = f"{coded[2]} ({coded[1]})"
        return {**document, "request_id": "req-scripted"}

    def error_frame(self, status: int, message: str) -> bytes:
        return b"event: error\ndata: " + msgspec.json.encode(self.error(status, message)) + b"\n\n"


class Text(OpenAIChat):
    """Errors are in `base_resp`, whatever the status; their numbers are as in `Messages`. A stream ends with the
    complete message."""

    name = "minimax"
    path = "/v1/text/chatcompletion_v2"

    def check(self, body: Json, headers: Mapping[str, str]) -> None:
        check_text_request(body)

    def frames(self, reply: Reply, asked: Asked, *, finish: bool = True) -> list[bytes]:
        *frames, _ = super().frames(reply, asked, finish=finish)
        turned = [*map(self.turned, map(_read, frames))]
        if finish:
            turned.append(msgspec.json.decode(self.document(reply, asked)))
        return [*(b"data: " + msgspec.json.encode(frame) + b"\n\n" for frame in turned), DONE]

    def document(self, reply: Reply, asked: Asked) -> bytes:
        document: Json = self.turned(msgspec.json.decode(super().document(reply, asked)))
        flags = {"input_sensitive": False, "output_sensitive": reply.reason == "refusal"}
        return msgspec.json.encode({**document, **flags, "base_resp": FINE})

    def error(self, status: int, message: str, code: str | None = None) -> Json:
        coded = _CODED.fullmatch(message)
        number, text = (int(coded[1]), coded[2]) if coded else (_NUMBERS.get(status, 1000), message)
        return {"base_resp": {"status_code": number, "status_msg": text}}

    def error_frame(self, status: int, message: str) -> bytes:
        return b"data: " + msgspec.json.encode(self.error(status, message)) + b"\n\n"

    def turned(self, document: Json) -> Json:
        for choice in document["choices"]:
            if choice["finish_reason"] == "content_filter":
                choice["finish_reason"] = "stop"
        return document


class Chat(Text):
    """Reasoning is in `reasoning_details`; in a stream each piece repeats all of it so far, as the documentation's
    examples read it. The path is that of the OpenAI protocol: a provider speaks one of the two."""

    path = "/v1/chat/completions"

    def check(self, body: Json, headers: Mapping[str, str]) -> None:
        check_chat_request(body)

    def frames(self, reply: Reply, asked: Asked, *, finish: bool = True) -> list[bytes]:
        frames = [frame for frame in super().frames(reply, asked, finish=finish) if frame != DONE]
        thought, grown = "", list[bytes]()
        for chunk in map(_read, frames[:-1] if finish else frames):
            for choice in chunk["choices"]:
                for detail in cast("list[Json]", choice["delta"].get("reasoning_details", ())):
                    thought += detail["text"]
                    detail["text"] = thought
            grown.append(b"data: " + msgspec.json.encode(chunk) + b"\n\n")
        return [*grown, DONE]

    def turned(self, document: Json) -> Json:
        for choice in super().turned(document)["choices"]:
            message: Json = choice.get("delta", choice.get("message"))
            if thought := message.pop("reasoning_content", None):
                detail = {"type": "reasoning.text", "id": "reasoning-text-1", "format": "MiniMax-response-v1"}
                message["reasoning_details"] = [{**detail, "index": 0, "text": thought}]
        return document


DIALECT: Dialect = Messages()
TEXT: Dialect = Text()
CHAT: Dialect = Chat()
MORE: tuple[Dialect, ...] = (TEXT,)


def signed(thinking: str) -> str:
    """Return the stub's signature of reasoning, different from Anthropic's."""
    return hashlib.sha256(b"minimax" + thinking.encode("utf-8", "replace")).hexdigest()


def _unsealed(reply: Reply) -> Reply:
    # This protocol shows all reasoning.
    return msgspec.structs.replace(reply, sealed="")


def _read(frame: bytes) -> Json:
    return msgspec.json.decode(frame.removeprefix(b"data: "))
