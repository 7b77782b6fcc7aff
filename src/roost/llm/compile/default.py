"""The shape that every model understands: the instruction, what is known, the rules, and the conversation."""

from __future__ import annotations

from typing import Any

from roost.llm.ir import Request
from roost.llm.profile import Profile
from roost.llm.prompt import Compiler, Prompt


class Default:
    name = "default"

    def compile(self, request: Request, profile: Profile) -> Prompt:
        rules = "\n".join(f"- {rule}" for rule in request.constraints)
        later = (
            *request.context,
            f"Rules:\n{rules}" if rules else "",
            f"The answer: {request.output_hint}" if request.output_hint else "",
        )
        return Prompt(
            system=tuple(block for block in (request.instruction, *later) if block),
            messages=request.messages,
            tools=request.tools,
            tool_choice=request.tool_choice,
            output_schema=request.output_schema,
            max_output=request.max_output,
            stop=request.stop,
            knobs=asked(request),
            stable=len(request.messages),
            stable_system=1 if request.instruction else 0,
        )


def asked(request: Request) -> dict[str, Any]:
    """The settings that a request names."""
    named = {"temperature": request.temperature, "effort": request.effort}
    return {**request.knobs, **{name: value for name, value in named.items() if value is not None}}


COMPILER: Compiler = Default()
