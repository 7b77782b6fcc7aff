"""GLM-5V-Turbo: GLM-5 with vision. Media come before the text about them, with numbers to refer to them."""

from __future__ import annotations

import msgspec

from roost.models.compile.glm import Glm
from roost.models.compile.glm_5 import EFFORTS
from roost.models.compile.media import numbered
from roost.models.profile import Profile
from roost.models.prompt import Compiler, Prompt


class Glm5vTurbo(Glm):
    def __init__(self) -> None:
        super().__init__("glm_5v_turbo", words=("glm_5v_turbo", "glm_5", "glm"), efforts=EFFORTS)

    def shaped(self, prompt: Prompt, profile: Profile) -> Prompt:
        return msgspec.structs.replace(prompt, messages=numbered(prompt.messages, profile))


COMPILER: Compiler = Glm5vTurbo()
