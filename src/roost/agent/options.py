"""Options of an agent, by feature; `roost.agent.definition` joins them."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from roost.models.request import Intent
from roost.validated import Validated, listed, option

CodingAgent: TypeAlias = Literal["claude-code", "codex", "gemini", "opencode", "pi"]
"""Coding agents of others that can work in a session (`roost.features.coding_agents`)."""

Framework: TypeAlias = Literal[
    "openai-agents",
    "langgraph",
    "crewai",
    "autogen",
    "claude-agent-sdk",
    "pydantic-ai",
    "termo-agent",
    "aios",
    "python",
]
"""Agent frameworks of others whose agents can be a session (`roost.features.frameworks`)."""

By: TypeAlias = Literal["model", "plain"]

_Share = Annotated[float, msgspec.Meta(gt=0.0, le=0.95)]


class Compaction(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """When the context exceeds the share `at` of the context budget, compact it to about the share `to`."""

    model: str | None = None
    """The model that writes the summary. Default: the agent's own, whose prompt cache holds most of the text."""
    at: _Share = 0.8
    """The share of the context budget that starts a compaction."""
    to: _Share = 0.5
    """The share of the context budget to reach."""
    keep_turns: Annotated[int, msgspec.Meta(ge=0)] = 2
    """The newest turns that stay word for word, where there is room."""
    by: By | None = None
    """`model` writes the summary, `plain` makes it by rule. Default: a model, unless it runs in this process, where a
    summary would take minutes."""
    seconds: Annotated[float, msgspec.Meta(gt=0.0)] = 120.0
    """Time for the summary of a model; then it is made by rule."""
    messages: Annotated[int, msgspec.Meta(ge=4)] | None = None
    """The most messages of a request, tool results included; above it the oldest leave without a summary, a quarter of
    it at a time. Default: tokens alone decide."""

    def __post_init__(self) -> None:
        if not 0 < self.to < self.at <= 0.95:
            raise ValueError(f"it needs 0 < to < at <= 0.95, and not to = {self.to}, at = {self.at}")


Action: TypeAlias = Literal["hint", "effort", "model", "end"]
_Most = Annotated[int, msgspec.Meta(ge=2, le=50)]


class Stall(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """When a turn counts as stalled, in steps. In Python None switches a check off."""

    repeats: _Most | None = 5
    """The same calls with the same results."""
    cycles: _Most | None = 4
    """Repetitions of a sequence of two to four steps."""
    errors: _Most | None = 8
    """Steps in a row without a successful call; a command with a nonzero exit code is none."""
    stale: _Most | None = 12
    """Steps in a row that each repeat an earlier one, in any order."""
    poor: _Most | None = 2
    """Scores of 2 or less in a row that the model gave its own work with the tool `plan`."""
    actions: tuple[Action, ...] = ("hint", "effort")
    """What is done, one by one, each when the turn has stalled again: a hint, more effort, the stronger `model`, the
    end of the turn."""
    model: str | None = None
    """The model that continues, for the action `model`."""

    def __post_init__(self) -> None:
        if "model" in self.actions and self.model is None:
            raise ValueError("the action 'model' needs a model: name one in stall.model")


Known: TypeAlias = Literal["chat", "debug", "create_project"]


class IntentRule(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """One topic that a turn may be about."""

    name: str
    """The name of the topic."""
    words: tuple[str, ...] = option(default=(), converter=listed)
    """Phrases that select it when one occurs in the message, ignoring case; without `words` it is the fallback."""
    tools: tuple[str, ...] | None = None
    """Globs of the agent's tools that such a turn has, or `safety:read_only` for all of that safety. Default: all."""
    confirm: bool = False
    """Ask a person before the model is called."""
    calls: Intent | None = None
    """Purpose of its model calls. Default: the agent's `intent`."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("an intent needs a name")
        if not all(word.strip() for word in self.words):
            raise ValueError(f"the words of the intent {self.name!r} must not be empty")


_READING = ("safety:read_only", "web_*", "pin", "unpin")
CREATE_PROJECT = IntentRule(
    name="create_project",
    words=(
        *("new project", "create a project", "create the project", "start a project", "set up a project"),
        *("project from scratch", "scaffold", "new app", "create an app", "build an app", "新建项目", "创建项目"),
    ),
    confirm=True,
    calls="design",
)
DEBUG = IntentRule(
    name="debug",
    words=(
        *("debug", "bug", "bugs", "error", "errors", "exception", "traceback", "stack trace", "crash", "crashes"),
        *("fails", "failing", "failed", "fix", "broken", "does not work", "doesn't work", "调试", "报错", "错误"),
    ),
    tools=(*_READING, "edit_*", "write_file", "shell*", "run_*", "python", "remember", "task"),
    calls="execute",
)
CHAT = IntentRule(name="chat", tools=(*_READING, "remember"), calls="chat")
INTENTS: dict[Known, IntentRule] = {"create_project": CREATE_PROJECT, "debug": DEBUG, "chat": CHAT}
"""In order of priority: a turn that matches neither of the first two is chat."""
