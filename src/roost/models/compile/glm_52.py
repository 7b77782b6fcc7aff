"""GLM-5.2: GLM-5 with a window of a million tokens, two depths of thinking, and thinking that is kept."""

from __future__ import annotations

import msgspec

from roost.models.compile.glm import Glm
from roost.models.compile.glm_5 import EFFORTS
from roost.models.compile.shape import THOUGHT, Efforts
from roost.models.profile import Profile
from roost.models.prompt import Compiler, Prompt
from roost.models.request import Request

DEPTHS: Efforts = {
    **EFFORTS,
    **dict.fromkeys(THOUGHT, "max"),
    **dict.fromkeys(("execute", "sub_agent", "code_generation"), "high"),
}
"""High or Max, the two that the model has besides off (docs.bigmodel.cn, Migrate to GLM-5.2)."""
_TITLE = 80
"""Characters of a document's first line that its title has at most."""


class Glm52(Glm):
    """Where the profile says that all reasoning goes back, the knob `clear_thinking` is false: the server must be told
    to keep what it is sent (docs.z.ai, Thinking Mode). What the request says of either is kept."""

    def __init__(self) -> None:
        super().__init__("glm_52", words=("glm_52", "glm_5", "glm"), efforts=DEPTHS)

    def known(self, request: Request) -> list[str]:
        """With several documents their titles come first: in a long window the model looks up by them."""
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


COMPILER: Compiler = Glm52()
