"""GLM: the most important parts come last. The rules and the answer's form end the system prompt, and are repeated,
with the task in one sentence, after the user's newest message.

GLM-5 is GLM for work over hours, which evaluates itself and changes its strategy. Thinking can be switched per turn
(docs.z.ai, Thinking Mode), and is off in small talk.
"""

from __future__ import annotations

import msgspec

from roost.models.compile.media import numbered
from roost.models.compile.shape import TALK, THOUGHT, Efforts, form, made, reminded, rules, task
from roost.models.profile import Profile
from roost.models.prompt import Compiler, Prompt
from roost.models.request import Request

EFFORTS: Efforts = dict.fromkeys(TALK, "off")
DEPTHS: Efforts = {
    **EFFORTS,
    **dict.fromkeys(THOUGHT, "max"),
    **dict.fromkeys(("execute", "sub_agent", "code_generation"), "high"),
}
"""High or Max, the two depths of the model besides off (docs.bigmodel.cn, Migrate to GLM-5.2)."""
_TITLE = 80
"""Limit in characters of a document's title, taken from its first line."""


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


class Glm52(Glm):
    """GLM-5.2: GLM-5 with a window of a million tokens, two depths of thinking, and preserved thinking.

    If the profile sends all reasoning back, the knob `clear_thinking` is false: the server must be told to keep it
    (docs.z.ai, Thinking Mode). Explicit knobs of the request win.
    """

    def __init__(self) -> None:
        super().__init__("glm_52", words=("glm_52", "glm_5", "glm"), efforts=DEPTHS)

    def known(self, request: Request) -> list[str]:
        """Return the documents. Several documents are preceded by their titles, which help the model find them in a
        long window."""
        known = super().known(request)
        if len(known) < 2:
            return known
        titles = (f"{number}. {_title(text)}" for number, text in enumerate(request.context, 1))
        return ["\n".join(("# Contents of the material", *titles)), *known]

    def shaped(self, prompt: Prompt, profile: Profile) -> Prompt:
        if profile.thinking_back != "all" or prompt.knobs.get("effort") == "off":
            return prompt
        return msgspec.structs.replace(prompt, knobs={"clear_thinking": False, **prompt.knobs})


def _title(text: str) -> str:
    return text.strip().partition("\n")[0][:_TITLE] or "(empty)"


class Glm5vTurbo(Glm):
    """GLM-5V-Turbo: GLM-5 with vision. Media come before the text about them, with numbers to refer to them."""

    def __init__(self) -> None:
        super().__init__("glm_5v_turbo", words=("glm_5v_turbo", "glm_5", "glm"), efforts=EFFORTS)

    def shaped(self, prompt: Prompt, profile: Profile) -> Prompt:
        return msgspec.structs.replace(prompt, messages=numbered(prompt.messages, profile))


GLM: Compiler = Glm()
GLM_5: Compiler = Glm("glm_5", words=("glm_5", "glm"), efforts=EFFORTS)
GLM_52: Compiler = Glm52()
GLM_5V_TURBO: Compiler = Glm5vTurbo()
