"""The shape that every model understands: the instruction, the context, the rules, and the conversation."""

from __future__ import annotations

from roost.models.compile.shape import form, made, rules, task
from roost.models.profile import Profile
from roost.models.prompt import Compiler, Prompt
from roost.models.request import Request


class Default:
    name = "default"

    def compile(self, request: Request, profile: Profile) -> Prompt:
        return made(request, [request.instruction], [task(request), *request.context, rules(request), form(request)])


COMPILER: Compiler = Default()
