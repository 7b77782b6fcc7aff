"""Build one answer from the frames of a GLM chat completion: streamed, whole, or fetched as a finished task."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from roost.log.content import ErrorData
from roost.models.profile import Profile
from roost.models.prompt import Prompt
from roost.models.request import Completed, Failed, ModelEvent
from roost.models.wire import Follow, HttpCall
from roost.models.wires.glm.errors import glm_stream_error
from roost.models.wires.glm.request import NAME, Quirks
from roost.models.wires.openai_chat.answer import STOP_REASONS, Frame, OpenAIChatAnswer

_SOON = 0.25
"""Seconds before the first status request for a task; each later wait is half as long again."""


class Filtered(msgspec.Struct):
    role: str | None = None
    level: int | None = None


class GlmFrame(Frame):
    """task_status, id: of a submitted task: PROCESSING, SUCCESS or FAIL."""

    id: str | None = None
    request_id: str | None = None
    task_status: str | None = None
    content_filter: list[Filtered] | None = None


class GlmAnswer(OpenAIChatAnswer):
    """Adds tasks to the common answer: a submitted task is polled until its answer is ready."""

    error: ErrorData | None
    wire = NAME
    decoder = msgspec.json.Decoder(GlmFrame)
    stops = {**STOP_REASONS, "sensitive": "refusal", "model_context_window_exceeded": "length"}

    def __init__(self, prompt: Prompt, profile: Profile, quirks: Quirks, *, where: str) -> None:
        super().__init__(prompt, profile, where=where)
        self._quirks = quirks
        self._request = ""
        self._task = ""
        self._after = 0.0
        self._waited = 0.0

    def take(self, frame: GlmFrame) -> list[ModelEvent]:
        self._request = frame.request_id or self._request
        for finding in frame.content_filter or ():
            self.why = f"the content filter found something in what the {finding.role} said"
        if frame.task_status is None:
            return super().take(frame)
        return self._take_task(frame)

    def _take_task(self, frame: GlmFrame) -> list[ModelEvent]:
        self.follow = None
        # The answer has its own id; the task keeps the one from its submission.
        self._task = self._task or frame.id or ""
        if frame.task_status == "FAIL" and not frame.error:
            self.error = ErrorData("overloaded", f"{self.where} could not finish the task {self._task}", True)
        elif frame.error or frame.choices or (frame.task_status == "SUCCESS" and self._waited):
            return super().take(frame)
        elif not self._task:
            self.error = ErrorData("malformed", f"{self.where} took the task and did not say its id", True)
        else:
            self._come_back()
        return []

    def _come_back(self) -> None:
        quirks = self._quirks
        if self._waited >= quirks.wait:
            what = f"has not finished the task {self._task} in {self._waited:.0f} s"
            self.error = ErrorData("timeout", f"{self.where} {what}", True)
            return
        self._after = min(max(_SOON, self._after * 1.5), quirks.poll)
        self._waited += self._after
        # Quoted, because the call carries the key: an id must not lead to any other path.
        place = f"../../async-result/{quote(self._task, safe='', errors='replace')}"
        self.follow = Follow(HttpCall("GET", place, {}), self._after)

    def finish(self, reason: str) -> None:
        if reason == "network_error":
            self.error = ErrorData("overloaded", f"{self.where} broke off: its inference failed (network_error)", True)
        elif reason == "model_context_window_exceeded" and not self.spoken:
            self.error = ErrorData("context_overflow", f"{self.where}: the conversation does not fit into its window")
        else:
            super().finish(reason)

    def broke_off(self, error: Any) -> None:
        self.error = glm_stream_error(error, where=self.where)

    def end(self) -> Completed | Failed:
        end = super().end()
        if isinstance(end, Completed) or not self._request:
            return end
        named = f"{end.error.message} (request {self._request[:80]})"
        return msgspec.structs.replace(end, error=msgspec.structs.replace(end.error, message=named))
