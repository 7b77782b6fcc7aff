"""DeepSeek V3 and R1: as few words as will do."""

from __future__ import annotations

from roost.llm.compile.shape import form, made, rules, task
from roost.llm.ir import Request
from roost.llm.profile import Profile
from roost.llm.prompt import Compiler, Prompt


class DeepSeek:
    name = "deepseek"

    def compile(self, request: Request, profile: Profile) -> Prompt:
        rest = "\n\n".join(
            filter(None, (task(request, self.name), *request.context, rules(request, ""), form(request)))
        )
        return made(request, [request.instruction], [rest])


COMPILER: Compiler = DeepSeek()
