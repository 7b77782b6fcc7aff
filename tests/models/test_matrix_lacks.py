"""What a protocol lacks is stated by feature; a failed check says what it found."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from roost.models.profile import Profile
from roost.models.prompt import Prompt
from roost.models.request import ModelEvent
from roost.models.wire import Endpoint
from roost.models.wires.openai_chat import OpenAIChat
from roost.models.wires.openai_chat.answer import OpenAIChatAnswer
from roost.stub.dialects import anthropic
from roost.testing.matrix import Cell, Subject, behaviours, subject, tried


class PlainAnswer(OpenAIChatAnswer):
    """Has no reasoning, and counts no cached tokens."""

    def think(self, part: Any, piece: str, events: list[ModelEvent]) -> None:
        pass

    def spent(self) -> Any:
        return msgspec.structs.replace(super().spent(), cached=0)


class Plain(OpenAIChat):
    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> PlainAnswer:
        return PlainAnswer(prompt, profile, where=where)


class Broken(OpenAIChat):
    def auth(self, key: str) -> Mapping[str, str]:
        return {}

    def call(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug of the wire")


async def cell(name: str, tested: Subject) -> Cell:
    (one,) = (one for one in behaviours() if one.name == name)
    return await tried(one, tested, [tested])


def plain(**lacks: str) -> Subject:
    return msgspec.structs.replace(subject("openai_chat"), name="plain", wire=Plain, lacks=lacks)


async def test_text_and_usage_are_tested_without_reasoning_and_cached_tokens() -> None:
    assert [(await cell(name, plain())).verdict for name in ("unicode", "usage")] == ["fail", "fail"]
    tested = plain(thinking="it has none", cached="it counts none")
    assert [(await cell(name, tested)).verdict for name in ("unicode", "usage")] == ["ok", "ok"]
    skipped = await cell("thinking", tested)
    assert (skipped.verdict, skipped.why) == ("skip", "it has none")


async def test_an_unknown_name_in_lacks_fails() -> None:
    found = await cell("text", plain(imgaes="it takes no pictures"))
    assert found.verdict == "fail"
    assert found.why == "lacks 'imgaes': use a behaviour or one of thinking, cached, images, refusal"


async def test_a_failed_comparison_says_what_it_found() -> None:
    found = await cell("usage", plain())
    assert "found (1000, 50, 0), compared with (1000, 50, 400) at talking.py:" in found.why


async def test_the_module_of_a_dialect_states_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anthropic, "LACKS", {"refusal": "no word for it"}, raising=False)
    assert subject("anthropic").lacks == {"refusal": "no word for it"}
    assert subject("anthropic", lacks={"images": "none"}).lacks == {"refusal": "no word for it", "images": "none"}
    assert subject("gemini").lacks == {}


async def test_a_call_that_fails_at_once_is_the_reason_of_abort() -> None:
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    found = await cell("abort", msgspec.structs.replace(plain(), wire=Broken))
    gc.collect()
    assert found.verdict == "fail"
    assert "RuntimeError" in found.why
    assert unheard == []
