"""DeepSeek. V3 and R1 get as few words as possible.

V4 is arranged for its prompt cache, which stores whole prefixes and makes them cheap (api-docs.deepseek.com,
Context Caching). The most stable parts come first, and a sent message is never extended.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from roost.models.compile.shape import TALK, THOUGHT, Efforts, fenced, form, made, rules, task
from roost.models.profile import Profile
from roost.models.prompt import Compiler, Prompt
from roost.models.request import Request

Variant = Literal["flash", "pro"]

EFFORTS: dict[Variant, Efforts] = {
    "flash": dict.fromkeys(TALK, "off"),
    "pro": dict.fromkeys(THOUGHT, "max"),
}
"""The model thinks by default, at effort high; it also has max (api-docs.deepseek.com, Thinking Mode)."""
WORDS: dict[Variant, tuple[str, ...]] = {"flash": ("deepseek",), "pro": ()}


class DeepSeek:
    name = "deepseek"

    def compile(self, request: Request, profile: Profile) -> Prompt:
        rest = "\n\n".join(
            filter(None, (task(request, self.name), *request.context, rules(request, ""), form(request)))
        )
        return made(request, [request.instruction], [rest])


class DeepSeekV4:
    """`flash` is fast: short texts, and no thinking in small talk. `pro` thinks hardest where a mistake costs most."""

    def __init__(self, variant: Variant) -> None:
        self._variant: Variant = variant

    @property
    def name(self) -> str:
        return f"deepseek_v4_{self._variant}"

    def compile(self, request: Request, profile: Profile) -> Prompt:
        known = (fenced("document", text, f' index="{number}"') for number, text in enumerate(request.context, 1))
        later = (task(request, *WORDS[self._variant]), form(request))
        prompt = made(request, [request.instruction, rules(request), *known], later, efforts=EFFORTS[self._variant])
        # The tools come first in the prompt, so their order must not depend on the caller.
        return msgspec.structs.replace(prompt, tools=tuple(sorted(prompt.tools, key=lambda tool: tool.name)))


PLAIN: Compiler = DeepSeek()
FLASH: Compiler = DeepSeekV4("flash")
PRO: Compiler = DeepSeekV4("pro")
