"""The shape that every model understands: the instruction, what is known, the rules, and the conversation."""

from __future__ import annotations

from roost.llm.compile.shape import form, made, rules, task
from roost.llm.ir import Request
from roost.llm.profile import Profile
from roost.llm.prompt import Compiler, Prompt


class Default:
    name = "default"

    def compile(self, request: Request, profile: Profile) -> Prompt:
        return made(request, [request.instruction], [task(request), *request.context, rules(request), form(request)])


COMPILER: Compiler = Default()
