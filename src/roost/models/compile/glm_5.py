"""GLM-5: GLM for work over hours, which judges itself and changes its strategy. Thinking can be switched in each turn
(docs.z.ai, Thinking Mode): small talk goes without."""

from __future__ import annotations

from roost.models.compile.glm import Glm
from roost.models.compile.shape import TALK, Efforts
from roost.models.prompt import Compiler

EFFORTS: Efforts = dict.fromkeys(TALK, "off")

COMPILER: Compiler = Glm("glm_5", words=("glm_5", "glm"), efforts=EFFORTS)
