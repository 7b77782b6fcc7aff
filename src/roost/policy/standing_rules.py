"""Standing rules: what a person's answer `always` allows from now on.

A rule is a text, as the log and the API have it:

- `npm test`: commands that begin with these words;
- `folder:/srv/app/docs`: calls of file tools that touch nothing outside the folder, except tools of high risk;
- `tool:deploy`: calls of a tool, but no commands, and no files outside the workspace;
- `session:all`: all of this, except tools of high risk.

A rule counts only where the agent's permissions would ask. No rule covers a command with a known danger, one that
cannot be understood, or one that would lose files for good."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from roost.log.events import RuleOffer
from roost.log.session_info import GrantScope
from roost.policy.command import Analysis
from roost.policy.question_parts import prefixes
from roost.policy.rules import Touches, allowed_by, within

Kind: TypeAlias = Literal["command", "folder", "tool", "session"]
SESSION = "session:all"
_ALL: tuple[GrantScope, ...] = ("session", "agent", "user")
_HERE: tuple[GrantScope, ...] = ("session",)


class StandingRule(NamedTuple):
    """A rule's parts. value: the words of a command, a real path, or the name of a tool."""

    kind: Kind
    value: str

    @property
    def says(self) -> str:
        """What it allows, for people."""
        match self.kind:
            case "command":
                return f"commands that begin with {self.value!r}"
            case "folder":
                return f"changes of files in {self.value!r}"
            case "tool":
                return f"calls of the tool {self.value!r}"
            case "session":
                return "everything that the agent's permissions ask about, except dangerous commands"


def parsed(rule: str) -> StandingRule:
    kind, colon, value = rule.partition(":")
    if colon and value and kind in ("folder", "tool"):
        return StandingRule("folder" if kind == "folder" else "tool", value)
    return StandingRule("session", "all") if rule == SESSION else StandingRule("command", rule)


def candidates(tool: str, touches: Touches, root: Path, *, private: bool) -> list[RuleOffer]:
    """Return the rules that a question about a call may offer, the narrowest first. The gate decides which of them
    would allow the call. private: the workspace is the session's own, so a rule about it is too."""
    found: list[tuple[str, tuple[GrantScope, ...]]] = []
    if touches.command is not None:
        found += [(prefix, _ALL) for prefix in prefixes(touches, root)]
    else:
        found += [(f"folder:{folder}", _HERE if private else _ALL) for folder in _folders(touches, str(root))]
        found.append((f"tool:{tool}", _ALL))
    return [RuleOffer(rule, parsed(rule).says, scopes) for rule, scopes in [*found, (SESSION, _HERE)]]


def narrowest(offers: Sequence[RuleOffer]) -> RuleOffer | None:
    """Return the rule that a plain "always" means. The whole session is never meant without being named."""
    return next((one for one in offers if one.rule != SESSION), None)


def covering(
    rules: Sequence[str], tool: str, touches: Touches, root: Path, *, high_risk: bool, lost: Callable[[], bool]
) -> str | None:
    """Return the rule that covers a call, or None. lost: whether the call would lose a file for good."""
    split = [parsed(rule) for rule in rules]
    if (command := touches.command) is not None:
        covered = _of_command(split, command, root)
        return None if covered is None or lost() else covered
    for rule, (kind, value) in zip(rules, split, strict=True):
        if (
            (kind == "folder" and not (high_risk or touches.outside) and _named(touches) and _only(touches, value))
            or (kind == "tool" and tool == value and _only(touches, str(root)))
            or (kind == "session" and not high_risk and _only(touches, str(root)))
        ):
            return rule
    return None


def _of_command(rules: Sequence[StandingRule], command: Analysis, root: Path) -> str | None:
    if command.unclear or command.findings:
        return None
    if not command.installs and any(rule.kind == "session" for rule in rules):
        return SESSION
    if command.redirected or command.elsewhere:
        return None
    begins = [rule.value for rule in rules if rule.kind == "command"]
    for one in begins:
        if allowed_by((one,), command, command.doing, root):
            return one
    return ", ".join(begins) if begins and allowed_by(begins, command, command.doing, root) else None


def _named(touches: Touches) -> bool:
    return bool(touches.reads or touches.writes)


def _only(touches: Touches, folder: str) -> bool:
    """Whether a call is known to touch no file outside a folder, and to make no other name for one."""
    if touches.unknown or touches.links or touches.read_patterns or touches.write_patterns:
        return False
    paths = (*touches.reads, *touches.writes, *touches.removes, *touches.below, *touches.picked)
    return all(within(path, folder) for path in paths)


def _folders(touches: Touches, root: str) -> list[str]:
    """Return the folder of all files that a call touches, and the workspace if they are in it."""
    paths = (*touches.reads, *touches.writes)
    if not paths:
        return []
    shared = os.path.commonpath([os.path.dirname(path) for path in paths])
    if within(shared, root):
        return list(dict.fromkeys((shared, root)))
    return [] if within(os.path.realpath(Path.home()), shared) else [shared]
