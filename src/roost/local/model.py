"""The embedded model as a `Model`: works offline, with no key, and calls tools by constrained decoding."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import msgspec

from roost.errors import ConfigError, RoostError
from roost.local.cache import Report, cache_dir
from roost.local.catalog import Weights
from roost.local.client_tools import Translation
from roost.local.decode import StepReader
from roost.local.engine import Chunk, Engine, Source, shared
from roost.local.guidance import Guidance
from roost.local.prompt import prefix
from roost.local.repetition_guard import RepetitionGuard
from roost.local.settings import Settings, from_environment
from roost.local.tuning import TROUBLES, machine_of, read_tuned, tune
from roost.local.weights import ensure, identity, resolve
from roost.log.content import AssistantMessage, AssistantPart, ErrorData, StopReason, Text, ToolCall, Usage
from roost.models.request import Completed, Failed, ModelEvent, Notice, Price, Profile, Progress, Request, TextDelta

_CAP = 8_000
_SMALLEST_CAP = 500
_ROOM = 256
_LONG = 8
"""Tokens of a prompt from which it is told how far it was read."""
_RETRYABLE = frozenset({"busy", "deadline", "weights_missing", "out_of_memory", "crashed"})


class LocalModel:
    """`name`: a model of the catalog, the path of a `.gguf` file, or None for the default (`resolve` has the rules).
    Settings not given come from the environment. Nothing is fetched or loaded before the first call.
    Raises `NotFound`, `ConfigError`."""

    def __init__(
        self,
        name: str | None = None,
        *,
        threads: int | None = None,
        context: int | None = None,
        deadline: float | None = None,
        idle: float | None = None,
    ) -> None:
        self._weights = resolve(name)
        if isinstance(self._weights, Weights) and self._weights.kind != "chat":
            raise ConfigError(f"{name!r} makes embeddings and cannot answer: name another model, such as 'local'")
        chosen = from_environment(threads=threads, context=context, deadline=deadline, idle=idle)
        window = min(chosen.context, self._weights.window) if isinstance(self._weights, Weights) else chosen.context
        self._settings: Settings = msgspec.structs.replace(chosen, context=window)
        self._engine: Engine | None = None

    @property
    def name(self) -> str:
        return f"local/{self._weights.name if isinstance(self._weights, Weights) else self._weights}"

    @property
    def profile(self) -> Profile:
        window = self._settings.context
        return Profile(local=True, window=window, max_output=min(2048, window // 2), price=Price(0, 0))

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._engine is not None and self._engine.loaded

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        translation = Translation(request)
        async with contextlib.aclosing(self._answered(translation.request)) as events:
            async for event in events:
                if (told := translation.back(event)) is not None:
                    yield told

    async def _answered(self, request: Request) -> AsyncGenerator[ModelEvent]:
        cap, guidance = min(_CAP, self._settings.context), Guidance(request)
        try:
            while True:
                run = _Run(guidance, self.profile, cap=cap)
                calls = self._acquire().generate(run.body, prefix=run.prefix, conversation=run.conversation)
                async with contextlib.aclosing(calls) as chunks:
                    async for chunk in chunks:
                        for event in [chunk] if isinstance(chunk, Progress) else run.take(chunk):
                            yield event
                        if run.too_long or run.over:
                            break
                if not run.too_long:
                    result = run.result()
                    if isinstance(result, Completed):
                        again = guidance.again(result)
                        if guidance.refused:
                            yield Notice("unsupported", {"answer": guidance.refused[:400]})
                        if again:
                            continue
                        result = guidance.final(result)
                        if guidance.checks and (text := AssistantMessage(result.parts).text):
                            yield TextDelta(text)
                    yield result
                    return
                if cap <= _SMALLEST_CAP:
                    yield _failed("context_overflow", "the conversation does not fit the local model's context")
                    return
                cap = max(_SMALLEST_CAP, cap // 2)
        except RoostError as error:
            yield _failed(error.code, error.message)

    def warm(self) -> None:
        """Start to load the weights in the background, which must be on this machine."""
        self._acquire().warm()

    async def prepare(self, request: Request) -> AsyncGenerator[Progress]:
        """Read what all requests of this agent begin with, once, so that the first call finds it. Says how far it is.
        Raises `RoostError`."""
        run = _Run(Guidance(Translation(request).request), self.profile, cap=_CAP)
        async with contextlib.aclosing(self._acquire().generate(None, prefix=run.prefix)) as chunks:
            async for chunk in chunks:
                for event in [chunk] if isinstance(chunk, Progress) else run.take(chunk):
                    if isinstance(event, Progress):
                        yield event

    def tune(self, report: Callable[[int, int], None]) -> None:
        """Find the settings that are fastest on this machine, unless that was done. Takes a minute and blocks; `report`
        hears how many trials of how many are done. For when nothing else asks the model. Raises nothing: where it
        fails, or the machine has other work, the settings stay as they are."""
        with contextlib.suppress(*TROUBLES):
            source = self._locate(lambda _: None)
            if source.tuned is None:
                tune(source.path, source.identity, _tuned_file(source.path), self._settings, report)

    async def close(self) -> None:
        """Unloads the weights when no other model of this process uses them."""
        if self._engine is None:
            return
        self._engine = None
        ending = shared.release(self._key)
        if ending is not None:
            await asyncio.to_thread(ending.join)

    @property
    def _key(self) -> str:
        return self._weights.file if isinstance(self._weights, Weights) else os.path.realpath(self._weights)

    def _acquire(self) -> Engine:
        if self._engine is None:
            self._engine = shared.acquire(self._key, lambda: Engine(self._locate, self._settings))
        return self._engine

    def _locate(self, report: Report) -> Source:
        weights = self._weights if isinstance(self._weights, Weights) else os.fspath(self._weights)
        path = ensure(weights, progress=report)
        known = weights.sha256 if isinstance(weights, Weights) else identity(path)
        return Source(path, known, cache_dir() / "states", read_tuned(_tuned_file(path), machine_of(known)))


def _tuned_file(weights: Path) -> Path:
    return cache_dir() / f"{weights.name}.tuned"


class _Run:
    """One attempt at a request: what is asked of the engine, and what came of it."""

    def __init__(self, guidance: Guidance, profile: Profile, *, cap: int) -> None:
        request, schema = guidance.request, guidance.schema()
        self._guidance = guidance
        self.too_long = False
        self.over = False
        self._window = profile.window
        self._reader = StepReader() if request.tools else None
        self._guard = RepetitionGuard()
        self._text: list[str] = []
        self._finish: str | None = None
        self._error: str | None = None
        self._prompt = self._pieces = 0
        self._usage: Usage | None = None
        messages, fixed = guidance.messages(cap), prefix(request)
        self.prefix = tuple(fixed)
        self.conversation = request.meta.get("session") or messages[min(len(fixed), len(messages) - 1)]["content"]
        self.body: dict[str, Any] = {
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,
            "cache_prompt": True,
            "max_tokens": min(request.max_output or profile.max_output, profile.max_output),
            "temperature": request.temperature or 0.0,
            "stop": list(request.stop),
        }
        if schema is not None:
            self.body["response_format"] = {"type": "json_schema", "json_schema": {"name": "step", "schema": schema}}
        if guidance.chooses:
            self.body |= {"logprobs": True, "top_logprobs": 20}

    def take(self, chunk: Chunk) -> list[ModelEvent]:
        """Learn from a chunk. `too_long`: the prompt must shrink; `over`: nothing more is wanted."""
        if error := chunk.get("error"):
            self.too_long = error.get("type") == "exceed_context_size_error"
            self._error = str(error.get("message"))
            self.over = True
            return []
        events: list[ModelEvent] = []
        if progress := chunk.get("prompt_progress"):
            self._prompt = int(progress["total"])
            self.too_long = self._prompt + _ROOM > self._window
            cached = int(progress["cache"])
            if self._prompt - cached >= _LONG:
                events.append(Progress("reading", int(progress["processed"]) - cached, self._prompt - cached))
        if usage := chunk.get("usage"):
            details: dict[str, int] = usage.get("prompt_tokens_details") or {}
            cached = details.get("cached_tokens", 0)
            self._usage = Usage(usage["prompt_tokens"], usage["completion_tokens"], cached, 0)
        for choice in chunk.get("choices") or ():
            self._finish = choice.get("finish_reason") or self._finish
            if (notice := self._guidance.hear("".join(self._text), choice)) is not None:
                events.append(notice)
            if piece := choice["delta"].get("content"):
                events += self._piece(piece)
        self.over = self.over or self._guidance.redirected
        return events

    def _piece(self, piece: str) -> list[ModelEvent]:
        self._pieces += 1
        self._text.append(piece)
        if self._guard.circles(piece):
            self.over, self._finish = True, "length"
        if self._reader is None:
            return [TextDelta(piece)]
        deltas = self._reader.feed(piece)
        return [] if self._guidance.checks or self._reader.step().tool == "grep" else deltas  # what may become another

    def result(self) -> Completed | Failed:
        if self._error is not None:
            return _failed("engine_failed", f"llama.cpp refused the request: {self._error}")
        stop: StopReason = "length" if self._finish == "length" else "end"
        usage = self._usage or Usage(self._prompt, self._pieces, 0, 0)
        if self._reader is None:
            return Completed(_text("".join(self._text)), stop, usage)
        step = self._reader.step()
        if step.tool is None:
            return Completed(_text(step.text), stop, usage)
        call = ToolCall(f"call_{secrets.token_hex(6)}", step.tool, step.text or "{}")
        return Completed((call,), "length" if stop == "length" else "tool_calls", usage)


def _text(text: str) -> tuple[AssistantPart, ...]:
    return (Text(text),) if text else ()


def _failed(code: str, message: str) -> Failed:
    return Failed(ErrorData(code, message, retryable=code in _RETRYABLE))
