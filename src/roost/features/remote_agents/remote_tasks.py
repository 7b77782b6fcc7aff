"""Ask a remote agent, and follow its task."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple, cast
from urllib.parse import quote

from roost.features.remote_agents.cards import Endpoint
from roost.features.remote_agents.requests import Requests, error_text
from roost.ids import new_id
from roost.tools.errors import ToolError

ANSWER_BYTES = 8 * 1024 * 1024
_FIRST_PAUSE, _LONGEST_PAUSE = 0.3, 5.0
_FAILURES = 5
"""Polls that may fail one after the other."""
_LISTED = 50
RESTS = ("COMPLETED", "FAILED", "CANCELED", "REJECTED", "INPUT_REQUIRED", "AUTH_REQUIRED")
_PATHS = {
    "SendMessage": ("POST", "/message:send"),
    "GetTask": ("GET", "/tasks/{id}"),
    "ListTasks": ("GET", "/tasks"),
}


class Refused(ToolError):
    """The remote agent has answered with an error."""


class RemoteTask(NamedTuple):
    """A task, or a message that is the answer without one (id is empty). parts: of its artifacts, then of the message
    of its status."""

    id: str
    context: str
    state: str
    parts: tuple[dict[str, Any], ...]

    @property
    def rests(self) -> bool:
        return self.state in RESTS


class RemoteTasks:
    """The tasks of one remote agent."""

    def __init__(self, name: str, endpoint: Endpoint, requests: Requests) -> None:
        self._name, self._endpoint, self._requests = name, endpoint, requests

    async def send(self, text: str, *, message: str, context: str, task: str) -> RemoteTask:
        """Send a message and return its task at once. message: its id, by which the remote agent may know it again.
        Raises `ToolError`."""
        said = {"messageId": message, "role": "ROLE_USER", "parts": [{"text": text}]}
        said |= {"contextId": context} if context else {}
        said |= {"taskId": task} if task else {}
        params = {"message": said, "configuration": {"returnImmediately": True, "acceptedOutputModes": ["text/plain"]}}
        result = await self._call("SendMessage", params)
        if isinstance(found := result.get("task"), dict):
            return _task(cast("dict[str, Any]", found))
        if isinstance(found := result.get("message"), dict):
            answer = cast("dict[str, Any]", found)
            return RemoteTask("", str(answer.get("contextId") or ""), "COMPLETED", _parts(answer))
        raise ToolError(f"{self._name} answered with neither a task nor a message")

    async def get(self, task: str) -> RemoteTask:
        """Raises `ToolError`."""
        return _task(await self._call("GetTask", {"id": task}))

    async def find(self, message: str, context: str) -> RemoteTask | None:
        """Look for the task of a message that may have arrived. None also when the agent lists no tasks."""
        try:
            result = await self._call("ListTasks", {**({"contextId": context} if context else {}), "pageSize": _LISTED})
        except Refused:
            return None
        tasks = result.get("tasks")
        for one in cast("list[Any]", tasks) if isinstance(tasks, list) else []:
            task = _object(one)
            history = task.get("history")
            said = [_object(part) for part in cast("list[Any]", history)] if isinstance(history, list) else []
            if any(part.get("messageId") == message for part in said):
                return _task(task)
        return None

    async def follow(self, task: RemoteTask, seconds: float) -> RemoteTask:
        """Wait until a task rests, at most so long. Raises `ToolError` when it cannot be got any more."""
        loop = asyncio.get_running_loop()
        end, pause, failures = loop.time() + seconds, _FIRST_PAUSE, 0
        while not task.rests and (left := end - loop.time()) > 0:
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            try:
                task = await self.get(task.id)
                failures = 0
            except Refused:
                raise
            except ToolError as error:
                failures += 1
                if failures == _FAILURES:
                    raise ToolError(f"{error}. The task {task.id} may go on: ask for it later") from None
        return task

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if self._endpoint.tenant:
            params = {**params, "tenant": self._endpoint.tenant}
        if self._endpoint.binding == "JSONRPC":
            body = {"jsonrpc": "2.0", "id": new_id("rpc"), "method": method, "params": params}
            status, answer = await self._requests.call("POST", self._endpoint.url, body, cap=ANSWER_BYTES)
            if "error" in answer or status >= 400:
                raise self._refused(answer.get("error", status))
            return _object(answer.get("result"))
        verb, path = _PATHS[method]
        url = self._endpoint.url.rstrip("/") + path.format(id=quote(str(params.get("id", "")), safe=""))
        if verb == "GET" and (
            query := "&".join(f"{k}={quote(str(v), safe='')}" for k, v in params.items() if k != "id")
        ):
            url = f"{url}?{query}"
        status, answer = await self._requests.call(verb, url, params if verb == "POST" else None, cap=ANSWER_BYTES)
        if status >= 400:
            raise self._refused(answer.get("error", status))
        return answer

    def _refused(self, error: Any) -> Refused:
        return Refused(f"{self._name} refused: {error_text(error)}")


def _task(given: dict[str, Any]) -> RemoteTask:
    id, status = given.get("id"), _object(given.get("status"))
    if not isinstance(id, str) or not 0 < len(id) <= 512:
        raise ToolError("the remote agent's task has no id")
    state = str(status.get("state") or "").removeprefix("TASK_STATE_")
    artifacts = given.get("artifacts")
    found = (
        [part for one in cast("list[Any]", artifacts) for part in _parts(_object(one))]
        if isinstance(artifacts, list)
        else []
    )
    context = given.get("contextId")
    return RemoteTask(
        id, context[:512] if isinstance(context, str) else "", state, (*found, *_parts(_object(status.get("message"))))
    )


def _parts(given: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    found = given.get("parts")
    return tuple(_object(one) for one in cast("list[Any]", found)) if isinstance(found, list) else ()


def _object(given: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", given) if isinstance(given, dict) else {}
