"""GLM: the most important parts come last. The rules and the answer's form end the system prompt, and are repeated,
with the task in one sentence, after the user's newest message."""

from __future__ import annotations

from roost.models.compile.shape import TALK, Efforts, form, made, reminded, rules, task
from roost.models.profile import Profile
from roost.models.prompt import Compiler, Prompt
from roost.models.request import Request


class Glm:
    """words: the families whose texts it uses, in order of preference."""

    def __init__(self, name: str = "glm", *, words: tuple[str, ...] = ("glm",), efforts: Efforts | None = None) -> None:
        self._name = name
        self._words = words
        self._efforts = efforts

    @property
    def name(self) -> str:
        return self._name

    def compile(self, request: Request, profile: Profile) -> Prompt:
        what, last = task(request, *self._words), (rules(request), form(request))
        prompt = made(request, [request.instruction], [*self.known(request), what, *last], efforts=self._efforts)
        goal = "" if request.intent in TALK else what.partition("\n")[0]
        return reminded(self.shaped(prompt, profile), goal, *last)

    def known(self, request: Request) -> list[str]:
        return [f"# Material {number}\n{text}" for number, text in enumerate(request.context, 1)]

    def shaped(self, prompt: Prompt, profile: Profile) -> Prompt:
        return prompt


COMPILER: Compiler = Glm()
