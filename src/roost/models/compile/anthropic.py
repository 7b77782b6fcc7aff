"""Claude: the whole system prompt in XML tags, separate from the conversation. Documents are numbered, which separates
them from the instructions (platform.claude.com, Prompting best practices)."""

from __future__ import annotations

from roost.models.compile.shape import fenced, made, task
from roost.models.profile import Profile
from roost.models.prompt import Compiler, Prompt
from roost.models.request import Request


class Anthropic:
    name = "anthropic"

    def compile(self, request: Request, profile: Profile) -> Prompt:
        what = task(request, "anthropic")
        rules = "\n".join(fenced("rule", rule) for rule in request.constraints)
        later = (
            _documents(request.context),
            fenced("task", what) if what else "",
            fenced("rules", rules) if rules else "",
            fenced("output_format", request.output_hint) if request.output_hint else "",
        )
        return made(request, [fenced("instructions", request.instruction) if request.instruction else ""], later)


def _documents(context: tuple[str, ...]) -> str:
    each = [fenced("document", text, f' index="{number}"') for number, text in enumerate(context, 1)]
    return fenced("documents", "\n".join(each)) if each else ""


COMPILER: Compiler = Anthropic()
