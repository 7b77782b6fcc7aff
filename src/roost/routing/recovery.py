"""Recover from failures that a model cannot: another model, the rest of a cut answer, one document in place of a
stream.

Each is a wrapper around a model, in the order given by `roost.providers.model_stack.stacked`; `Degrading` wraps several
stacks. A context overflow that no larger model accepts is returned as `context_overflow`: the caller trims and asks
again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping

import msgspec

from roost.errors import ConfigError
from roost.ids import new_id
from roost.log.content import (
    AssistantMessage,
    AssistantPart,
    ErrorData,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)
from roost.models.model_wrapper import ModelWrapper, events, is_shown
from roost.models.request import Completed, Failed, Intent, Model, ModelEvent, Notice, Profile, Request
from roost.models.required_media import needed
from roost.models.wire_body import is_json_object
from roost.routing.retry import failure_fields

OTHERS_MAY = frozenset(
    {"auth", "quota", "rate_limited", "overloaded", "connection", "timeout", "malformed", "empty", "internal"}
    | {"unsupported", "stuck", "budget", "price_unknown"}
)
"""Failures after which another model is asked. A cheaper one, or one with a price, may fit into the budget."""
_BROKEN = frozenset({"connection", "malformed", "timeout"})
_LEAST = 16
"""Tokens of an answer below which some providers accept no limit."""
_IN_PIECES = (
    "This call was cut off at the output limit of {tokens} tokens and was not run. Do not make it again as it was: do"
    " the same in several smaller calls, one after the other, each well below that limit."
)
_GO_ON = "Your answer was cut off. Go on exactly where it ends. Repeat nothing and say nothing about the interruption."


class Chains(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The models to ask in order, by the call's intent; `default` for every other call."""

    default: tuple[str, ...]
    by: dict[Intent, tuple[str, ...]] = {}

    def of(self, intent: Intent | None) -> tuple[str, ...]:
        return self.default if intent is None else self.by.get(intent, self.default)


class Degrading:
    """Ask the next model of a chain when one fails (FALLBACK).

    A notice `fallback` reports it, and `restart` if part of an answer was shown. After `context_overflow` only a model
    with a larger window is asked. Models that cannot take the user's newest media are skipped; if none can, only the
    first is asked. The last failure is returned. All calls but the last have `meta["others"]`, so that they wait only
    briefly. Name and profile are those of the first model of the default chain. Closes all models. Raises `ConfigError`
    for a chain that is empty or names a model that `models` lacks.
    """

    def __init__(self, models: Mapping[str, Model], chains: Chains) -> None:
        for chain in (chains.default, *chains.by.values()):
            if not chain or not set(chain) <= set(models):
                raise ConfigError(
                    f"the chain {list(chain)!r} must name at least one of {sorted(models)!r}, and no other"
                )
        self._models = dict(models)
        self._chains = chains

    @property
    def _first(self) -> Model:
        return self._models[self._chains.default[0]]

    @property
    def name(self) -> str:
        return self._first.name

    @property
    def profile(self) -> Profile:
        return self._first.profile

    async def close(self) -> None:
        for model in self._models.values():
            await model.close()

    def over(self, wrap: Callable[[Model], Model]) -> Degrading:
        """Return the same chains over the wrapped models; itself if no model changes."""
        models = {name: wrap(model) for name, model in self._models.items()}
        same = all(models[name] is model for name, model in self._models.items())
        return self if same else Degrading(models, self._chains)

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        chain = [self._models[name] for name in self._chains.of(request.intent)]
        media = needed(request.messages, request.since)
        chain = [model for model in chain if all(map(model.profile.takes, media))] or chain[:1]
        while True:
            model, *chain = chain
            failed: Failed | None = None
            shown = False
            async with events(model, _with_others(request, len(chain))) as stream:
                async for event in stream:
                    if isinstance(event, Failed):
                        failed = event
                        break
                    shown = shown or is_shown(event)
                    yield event
            if failed is None:
                return
            chain = _after(failed, model.profile, chain)
            if not chain:
                yield failed
                return
            yield Notice("fallback", failure_fields(failed) | {"from": model.name, "to": chain[0].name})
            if shown:
                yield Notice("restart")


def _after(failed: Failed, profile: Profile, chain: list[Model]) -> list[Model]:
    if failed.error.code == "context_overflow":
        return [model for model in chain if model.profile.window > profile.window]
    return chain if failed.error.code in OTHERS_MAY else []


def _with_others(request: Request, count: int) -> Request:
    return msgspec.structs.replace(request, meta={**request.meta, "others": str(count)}) if count else request


class Batching(ModelWrapper):
    """Retry a broken stream (STREAMING_RETRY): one that breaks within an answer, or ends there with a transient
    failure, is requested once more, then the answer is requested in one document. A notice `recovery`, then `restart`,
    precede each. Failures before any output are left to retry."""

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        asks = [request, request, msgspec.structs.replace(request, stream=False)] if request.stream else [request]
        while True:
            ask, *asks = asks
            failed: Failed | None = None
            shown = False
            async with events(self.inner, ask) as stream:
                async for event in stream:
                    if isinstance(event, Failed) and shown and asks and _broke_off(event):
                        failed = event
                        break
                    shown = shown or is_shown(event)
                    yield event
            if failed is None:
                return
            how = "stream" if asks[0].stream else "batch"
            yield Notice("recovery", failure_fields(failed) | {"type": "STREAMING_RETRY", "how": how})
            yield Notice("restart")


def _broke_off(failed: Failed) -> bool:
    return failed.error.retryable or failed.error.code in _BROKEN


class Continuing(ModelWrapper):
    """Finish an answer that was cut off at the output limit (LENGTH), in up to `rounds` more calls, whose usage is
    added. A notice `recovery` reports each.

    Text continues where it ended. A tool call, a document of a schema or reasoning that was cut off is made anew, after
    `restart`, with the model's whole limit if less was given. A call that is cut off at that limit gets a result that
    says so, and the model makes a smaller one. A `max_output` of the request bounds all calls together: at the bound
    the answer stays cut off. An answer without parts fails as `empty`.
    """

    def __init__(self, inner: Model, *, rounds: int = 3) -> None:
        super().__init__(inner)
        self._rounds = rounds

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        ask, written, usage = request, (), Usage(cost=0)
        for left in range(self._rounds, -1, -1):
            end: Completed | Failed | None = None
            async with events(self.inner, ask) as stream:
                async for event in stream:
                    if isinstance(event, Completed | Failed):
                        end = event
                        break
                    yield event
            if end is None:
                return
            if isinstance(end, Failed):
                # The text so far is a truncated answer: better than none.
                yield end if not written else Completed(written, "length", usage + (end.usage or Usage(cost=0)))
                return
            usage += end.usage
            parts = joined(written, end.parts)
            after = _next(request, ask, parts, end, usage, self.profile) if left and end.stop == "length" else None
            if after is None:
                yield _last(self.name, parts, end, usage)
                return
            ask, written, how = after
            yield Notice("recovery", {"type": "LENGTH", "how": how})
            if not written:
                yield Notice("restart")


def _next(
    request: Request, ask: Request, parts: tuple[AssistantPart, ...], end: Completed, usage: Usage, profile: Profile
) -> tuple[Request, tuple[AssistantPart, ...], str] | None:
    """Return (the next request, the part of the answer to keep, how the notice names it); None when nothing helps."""
    room = ask.max_output
    if request.max_output is not None:
        room = request.max_output - (usage.output or request.max_output)
        if room < _LEAST:
            return None
    called = any(isinstance(part, ToolCall) and is_json_object(part.arguments) for part in parts)
    cut = _cut(end)
    # A document for a schema would begin anew.
    if parts and isinstance(parts[-1], Text) and not called and not cut and request.output_schema is None:
        messages = (*request.messages, AssistantMessage(_sendable(parts)), UserMessage((Text(_GO_ON),)))
        return msgspec.structs.replace(ask, messages=messages, max_output=room), parts, "continue"
    if called:
        # Complete calls can run; the model repeats the rest when it sees their results.
        return None
    if ask.max_output is None and end.usage.output < profile.max_output:
        return msgspec.structs.replace(request, max_output=profile.max_output), (), "more room"
    if not cut:
        return None
    tokens = end.usage.output or ask.max_output or profile.max_output
    call = ToolCall(new_id("call"), cut)
    written = tuple(part for part in _sendable(end.parts) if not isinstance(part, ToolCall))
    result = ToolMessage(call.id, cut, (Text(_IN_PIECES.format(tokens=tokens)),), error=True)
    messages = (*ask.messages, AssistantMessage((*written, call)), result)
    return msgspec.structs.replace(ask, messages=messages, max_output=room), (), "in pieces"


def _cut(end: Completed) -> str | None:
    """Return the name of the call that was cut off. Some models pass a partial call as it is."""
    last = end.parts[-1] if end.parts else None
    if isinstance(last, ToolCall) and not is_json_object(last.arguments):
        return last.name
    return end.cut


def _sendable(parts: tuple[AssistantPart, ...]) -> tuple[AssistantPart, ...]:
    # Reasoning without its provider's final signature may not be sent back.
    return tuple(part for part in parts if not isinstance(part, Thinking) or part.signature is not None)


def _last(name: str, parts: tuple[AssistantPart, ...], end: Completed, usage: Usage) -> Completed | Failed:
    if parts:
        return Completed(parts, end.stop, usage, end.cut, end.word)
    where = f"in the midst of a call of {end.cut!r}, which was not made" if end.cut else "before it said anything"
    tokens = f" of {end.usage.output} tokens" if end.usage.output else ""
    message = f"{name} reached its output limit{tokens} {where}; raise max_output, or ask for less at once"
    return Failed(ErrorData("empty", message), usage)


def joined(written: tuple[AssistantPart, ...], more: tuple[AssistantPart, ...]) -> tuple[AssistantPart, ...]:
    """Join two answers. Drops reasoning of the second; continued text becomes one part."""
    if not written:
        return more
    rest = [part for part in more if not isinstance(part, Thinking)]
    if rest and isinstance(rest[0], Text) and isinstance(last := written[-1], Text):
        return (*written[:-1], Text(last.text + rest[0].text), *rest[1:])
    return (*written, *rest)
