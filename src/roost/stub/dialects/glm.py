"""GLM's protocol, from the server's side: direct answers, and tasks that are submitted and fetched later."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from roost.stub.dialects.base import Asked, Dialect
from roost.stub.dialects.glm_check import check_glm_request
from roost.stub.dialects.openai_chat import DONE, OpenAIChat
from roost.stub.script import Reply, digest

Json = dict[str, Any]
ROOT = "/api/paas/v4"
MAX_TASKS = 1_000
_CODED = re.compile(r"(\d{4}): (.*)", re.DOTALL)
_REASONS = {"content_filter": "sensitive"}


class Glm(OpenAIChat):
    """An error message may begin with a number of GLM's own (`1113: ...`), which becomes the error's code."""

    name = "glm"
    path = f"{ROOT}/chat/completions"

    def check(self, body: Json, headers: Mapping[str, str]) -> None:
        check_glm_request(body)

    def frames(self, reply: Reply, asked: Asked, *, finish: bool = True) -> list[bytes]:
        frames = [_read(frame) for frame in super().frames(reply, asked, finish=finish) if frame != DONE]
        if not asked.body.get("tool_stream"):
            frames = _joined(frames)
        if finish:
            frames[-1]["usage"] = msgspec.json.decode(super().document(reply, asked))["usage"]
        return [*(b"data: " + msgspec.json.encode(_own(frame, asked)) + b"\n\n" for frame in frames), DONE]

    def document(self, reply: Reply, asked: Asked) -> bytes:
        return msgspec.json.encode(_own(msgspec.json.decode(super().document(reply, asked)), asked))

    def error(self, status: int, message: str, code: str | None = None) -> Json:
        coded = _CODED.fullmatch(message.removeprefix("Invalid request: "))
        number, text = coded.groups() if coded else (str(status), message)
        return {"error": {"code": number, "message": text}}

    def error_frame(self, status: int, message: str) -> bytes:
        return b"data: " + msgspec.json.encode(self.error(status, message)) + b"\n\n"


class Task(msgspec.Struct):
    """A submitted task. `due`: when it is done, on the monotonic clock. `polls`: number of status requests."""

    result: Json
    due: float
    polls: int = 0


class GlmTasks(Glm):
    """A task takes as long as streaming its answer would. With an `error` in its reply it fails."""

    path = f"{ROOT}/async/chat/completions"

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self._numbers = itertools.count(1)

    def check(self, body: Json, headers: Mapping[str, str]) -> None:
        if body.get("stream"):
            raise AssertionError("1210: a task cannot be streamed")
        super().check(body, headers)

    def document(self, reply: Reply, asked: Asked) -> bytes:
        name = f"{digest(asked.messages)}/{next(self._numbers)}"
        head: Json = {"id": name, "request_id": f"req-{name}", "model": asked.model}
        if reply.error is not None:
            error = {"code": reply.error.code, "message": reply.error.message}
            result: Json = {**head, "task_status": "FAIL", "error": error}
        else:
            result = {**msgspec.json.decode(super().document(reply, asked)), "task_status": "SUCCESS"}
        due = time.monotonic() + reply.pace * len(self.frames(reply, asked))
        self.tasks[name] = Task(result, due)
        for old in list(self.tasks)[:-MAX_TASKS]:
            self.tasks.pop(old, None)
        return msgspec.json.encode({**head, "task_status": "PROCESSING"})

    def routes(self, key: str | None) -> Sequence[Route]:
        async def result(request: Request) -> Response:
            if key is not None and self.key(request.headers) != key:
                return JSONResponse(self.error(401, "1000: Authentication Failed"), 401)
            name = request.path_params["id"]
            task = self.tasks.get(name)
            if task is None:
                return JSONResponse(self.error(400, "1214: Parameter id is invalid"), 400)
            task.polls += 1
            head = {"id": name, "task_status": "PROCESSING"}
            return JSONResponse(task.result if time.monotonic() >= task.due else head)

        return [Route(f"{ROOT}/async-result/{{id:path}}", result, methods=["GET"])]


DIALECT: Dialect = Glm()
TASKS = GlmTasks()
MORE: tuple[Dialect, ...] = (TASKS,)


def _read(frame: bytes) -> Json:
    return msgspec.json.decode(frame.removeprefix(b"data: "))


def _own(document: Json, asked: Asked) -> Json:
    for choice in document["choices"]:
        choice["finish_reason"] = _REASONS.get(choice["finish_reason"], choice["finish_reason"])
    kept = {key: value for key, value in document.items() if key != "object"}
    return {**kept, "request_id": f"req-{digest(asked.messages)}"}


def _joined(frames: list[Json]) -> list[Json]:
    """Join each call in one frame: without `tool_stream` arguments do not come in pieces."""
    whole: list[Json] = []
    calls: dict[int, Json] = {}
    for frame in frames:
        delta = frame["choices"][0]["delta"]
        for call in cast("list[Json]", delta.get("tool_calls", ())):
            if call["index"] in calls:
                calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
            else:
                calls[call["index"]] = call
                whole.append(frame)
        if "tool_calls" not in delta:
            whole.append(frame)
    return whole
