"""MiniMax M3: all material in full, because its sparse attention finds the relevant parts in a million tokens; pictures
and videos by number; and instructions for working on a screen, if there are tools for one. Headings are Markdown."""

from __future__ import annotations

import re

import msgspec

from roost.models.compile.intents import words
from roost.models.compile.media import in_full, numbered
from roost.models.compile.shape import form, made, rules, task
from roost.models.profile import Profile
from roost.models.prompt import Compiler, Prompt
from roost.models.request import Request

_SCREEN = re.compile(r"(^|[_.-])(desktop|computer|screen|screenshot|mouse)($|[_.-])")
"""Matches the name of a tool that works on a screen."""


class MiniMaxM3:
    name = "minimax_m3"

    def compile(self, request: Request, profile: Profile) -> Prompt:
        what = task(request, self.name)
        later = (
            *(f"# Document {number}, in full\n\n{text}" for number, text in enumerate(request.context, 1)),
            f"# Task\n\n{what}" if what else "",
            rules(request, "# Rules\n\n"),
            form(request, "# Answer\n\n"),
        )
        screen = words("desktop", self.name) if any(_SCREEN.search(tool.name) for tool in request.tools) else ""
        prompt = made(request, [request.instruction, f"# Desktop\n\n{screen}" if screen else ""], later)
        return msgspec.structs.replace(prompt, messages=in_full(numbered(prompt.messages, profile)))


COMPILER: Compiler = MiniMaxM3()
