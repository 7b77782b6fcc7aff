"""Guess the intent of a request without one, by cheap rules over its last messages."""

from __future__ import annotations

import re

from roost.log.content import Text, ToolMessage, UserMessage
from roost.models.request import Intent, Request

LONG = 1_500
"""Characters of a task from which it counts as needing a plan."""
_PLAN = re.compile(r"\b(plan|design|architect\w*|road ?map|strategy|compare|research|step by step)\b|计划|规划|设计")
_CODE = re.compile(
    r"```|\b(code|function|script|refactor|implement|bug|debug|compile|unit tests?|traceback|regex|sql)\b"
    r"|\w\.(py|js|ts|go|rs|c|cpp|java|rb|sh|sql|html|css|toml|json|ya?ml)\b|代码|函数|脚本"
)


def guess(request: Request) -> Intent | None:
    """Guess the intent of a request that offers tools; None, which counts as `chat`, for all others. The first match
    counts: the newest message is a tool's result: `execute`; the newest task mentions a plan or is long: `plan`; it
    mentions code: `code_generation`."""
    if not request.tools or request.tool_choice == "none" or not request.messages:
        return None
    last = request.messages[-1]
    if isinstance(last, ToolMessage):
        return "execute"
    if not isinstance(last, UserMessage):
        return None
    text = "\n".join(part.text for part in last.parts if isinstance(part, Text)).casefold()
    if len(text) > LONG or _PLAN.search(text):
        return "plan"
    return "code_generation" if _CODE.search(text) else None
