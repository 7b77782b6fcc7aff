"""DeepSeek V3 and R1: as few words as possible."""

from __future__ import annotations

from roost.models.compile.shape import form, made, rules, task
from roost.models.profile import Profile
from roost.models.prompt import Compiler, Prompt
from roost.models.request import Request


class DeepSeek:
    name = "deepseek"

    def compile(self, request: Request, profile: Profile) -> Prompt:
        rest = "\n\n".join(
            filter(None, (task(request, self.name), *request.context, rules(request, ""), form(request)))
        )
        return made(request, [request.instruction], [rest])


COMPILER: Compiler = DeepSeek()
