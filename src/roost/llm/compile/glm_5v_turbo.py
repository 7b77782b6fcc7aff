"""GLM-5V-Turbo: GLM-5 that sees. Media come before the words about them, with numbers to name them by."""

from __future__ import annotations

import msgspec

from roost.llm.compile.glm import Glm
from roost.llm.compile.glm_5 import EFFORTS
from roost.llm.compile.media import numbered
from roost.llm.profile import Profile
from roost.llm.prompt import Compiler, Prompt


class Glm5vTurbo(Glm):
    def __init__(self) -> None:
        super().__init__("glm_5v_turbo", words=("glm_5v_turbo", "glm_5", "glm"), efforts=EFFORTS)

    def shaped(self, prompt: Prompt, profile: Profile) -> Prompt:
        return msgspec.structs.replace(prompt, messages=numbered(prompt.messages, profile))


COMPILER: Compiler = Glm5vTurbo()
