"""What every contestant writes in a step: about 1 KB."""

from __future__ import annotations

PROMPT = "Do the work, one call after the other, then say that it is done."
SAID = "I look at the next part before I go on. " * 16
ARGUMENTS = {"what": "src/part.py", "why": "because the part before it refers to it. " * 4}
RESULT = "def part(number: int) -> int: return number + 1  # a line of the file that was read\n" * 11
ANSWER = "All of it is done, and this is the answer. " * 20


def calls_of(steps: int) -> int:
    """A turn of `steps` steps is model, tool, model, tool … model: so many tool calls."""
    if steps % 2 == 0:
        raise ValueError(f"a turn ends with the model's answer: {steps} must be odd")
    return steps // 2
