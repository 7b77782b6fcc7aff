"""GLM-5.2: GLM-5 with a window of a million tokens, two depths of thinking, and preserved thinking."""

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
"""High or Max, the two depths of the model besides off (docs.bigmodel.cn, Migrate to GLM-5.2)."""
_TITLE = 80
"""Limit in characters of a document's title, taken from its first line."""


class Glm52(Glm):
    """If the profile sends all reasoning back, the knob `clear_thinking` is false: the server must be told to keep it
    (docs.z.ai, Thinking Mode). Explicit knobs of the request win."""

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


COMPILER: Compiler = Glm52()
