"""What a session is to reach, and what a check found."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

Line: TypeAlias = Annotated[str, Meta(min_length=1, max_length=10_000)]
State: TypeAlias = Literal["open", "met", "unmet"]
RUBRIC = 20_000
"""Most characters of a rubric, and of a description."""


class Goal(msgspec.Struct, frozen=True, omit_defaults=True):
    """A goal. The agent's answer counts only once all of it is met; until then its turn goes on.

    rubric: what must be true, in words, for a grader. commands: shell lines that must exit with 0. files: patterns, as
    `docs/*.md`; each must match a file that is not empty. attempts: answers that are checked before it is given up.
    seconds: limit of each command. grader: the grader's model; None is the agent's. id: names the goal in its verdicts.
    description: the task, for the grader.
    """

    rubric: Annotated[str, Meta(max_length=RUBRIC)] = ""
    commands: Annotated[tuple[Line, ...], Meta(max_length=50)] = ()
    files: Annotated[tuple[Line, ...], Meta(max_length=100)] = ()
    attempts: Annotated[int, Meta(ge=1, le=100)] = 5
    seconds: Annotated[float, Meta(gt=0, le=3600)] = 300.0
    grader: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    id: Annotated[str, Meta(max_length=200)] = ""
    description: Annotated[str, Meta(max_length=RUBRIC)] = ""

    @property
    def empty(self) -> bool:
        return not (self.rubric.strip() or self.commands or self.files)


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was checked. kind: `command`, `file` or `rubric`. what: the command, the pattern, or what the
    grader looked at. detail: the output, or why it is not met."""

    kind: Literal["command", "file", "rubric"]
    what: str
    met: bool
    detail: str = ""


def told(findings: tuple[Finding, ...], left: int) -> str:
    """Return what the agent gets to read after a check that failed. left: attempts."""
    missing = [f"- {one.kind} {one.what}\n{one.detail}".rstrip() for one in findings if not one.met]
    head = "[This is not from the user. The work was checked, and it is not done yet:"
    more = f"{left} more time{'s' if left > 1 else ''}"
    return "\n".join([head, *missing, f"Mend that, and then say that you are done. It will be checked {more}.]"])
