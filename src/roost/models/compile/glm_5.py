"""GLM-5: GLM for work over hours, which evaluates itself and changes its strategy. Thinking can be switched per turn
(docs.z.ai, Thinking Mode), and is off in small talk."""

from __future__ import annotations

from roost.models.compile.glm import Glm
from roost.models.compile.shape import TALK, Efforts
from roost.models.prompt import Compiler

EFFORTS: Efforts = dict.fromkeys(TALK, "off")

COMPILER: Compiler = Glm("glm_5", words=("glm_5", "glm"), efforts=EFFORTS)
