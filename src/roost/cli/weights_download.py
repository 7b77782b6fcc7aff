"""Fetch the local model's weights, with progress, before a turn needs them."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from roost.cli.output import note, size
from roost.errors import RoostError
from roost.log.content import Text, UserMessage

if TYPE_CHECKING:
    from roost.agent.definition import Agent
    from roost.local.cache import Progress
    from roost.providers.accounts import Models

_WORDS = {
    "waiting": "waiting for another process",
    "hub": "fetching",
    "packages": "fetching",
    "checking": "checking",
    "preparing": "preparing",
    "trying": "trying what is fastest for",
}
_BAR = 24
_ROUTED = "auto"
"""Account name of a router, which asks any of its models."""


def ensure_model(name: str | None, agent: Agent | None = None, *, quiet: bool = False) -> str:
    """Make sure that the model can be used: its key is set, or its weights are here (fetched now if not). Returns the
    full name. Raises `RoostError`."""
    if agent is not None and agent.python.model is not None:
        return agent.python.model.name
    models = _models()
    full = models.full(name)
    if full.partition("/")[0] == _ROUTED:
        return full
    model = models.resolve(full)
    if model.profile.local and model.name.startswith("local/"):
        fetch(model.name, agent, quiet=quiet)
    return model.name


def hosted(name: str | None) -> bool:
    """True when the model is served by an account whose key is here: then no weights are needed."""
    models = _models()
    account = models.full(name).partition("/")[0]
    return account != "local" and models.accounts().get(account, False)


def missing(name: str | None) -> bool:
    """True when the model's weights must be fetched before it can answer."""
    from roost.local.weights import is_verified_here

    try:
        model = _models().resolve(name)
        return model.profile.local and model.name.startswith("local/") and not is_verified_here(model.name)
    except RoostError:
        return False


def _models() -> Models:
    from roost.cli.app import App
    from roost.providers.accounts import Models

    return Models.at_home(App().home)


def fetch(name: str | None, agent: Agent | None = None, *, quiet: bool = False, ready: bool = True) -> Path:
    """Return the weights' verified file, fetched if missing. With `ready` newly fetched weights are prepared for the
    agent, by default the built-in one. Ctrl-C ends the download; the fetched part is kept."""
    from roost.local.weights import ensure, is_verified_here

    fresh = ready and not is_verified_here(name)
    shown = Shown(quiet=quiet)
    try:
        path = ensure(name, progress=shown)
        if fresh:
            prepare(name, agent, shown)
        return path
    finally:
        shown.end()


def prepare(name: str | None, agent: Agent | None, shown: Shown) -> None:
    """Let a chat model process the common prefix of its requests once. Raises nothing: else the first call does it."""
    from roost.agent.default_agent import default_agent
    from roost.local.cache import Progress
    from roost.local.model import LocalModel
    from roost.models.request import Request

    agent = agent or default_agent()
    request = Request(
        instruction=agent.instructions,
        constraints=agent.constraints,
        messages=(UserMessage((Text(""),)),),
        tools=tuple(tool.spec for tool in agent.python.toolbox(agent.tools).values()),
    )

    async def read() -> None:
        async for progress in LocalModel(name).prepare(request):
            if progress.total:
                shown(Progress("preparing", progress.done, progress.total))

    with contextlib.suppress(RoostError):
        asyncio.run(read())


def tune(name: str | None, *, quiet: bool) -> None:
    """Find the fastest settings of a chat model on this machine, once."""
    from roost.local.cache import Progress
    from roost.local.engine import shared
    from roost.local.model import LocalModel

    shown = Shown(quiet=quiet)
    try:
        model = LocalModel(name)
        shared.stop_all()
        model.tune(lambda done, total: shown(Progress("trying", done, total)))
    except RoostError:
        pass
    finally:
        shown.end()


class Shown:
    """A progress bar on a terminal, elsewhere a line now and then."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._tty = sys.stderr.isatty()
        self._began: dict[str, tuple[float, int]] = {}
        self._said = 0.0
        self._open = False
        self._lock = threading.Lock()

    def __call__(self, progress: Progress) -> None:
        if self._quiet:
            return
        with self._lock:
            now = time.monotonic()
            first = progress.stage not in self._began
            began, at = self._began.setdefault(progress.stage, (now, progress.done))
            if not self._tty and not first and now - self._said < 10.0:
                return
            if self._tty and not first and now - self._said < 0.1 and progress.done < progress.total:
                return
            self._said = now
            rate = (progress.done - at) / (now - began) if now - began > 0.5 else 0.0
            line = _line(progress, rate)
            if self._tty:
                sys.stderr.write(f"\r{line}\x1b[K")
                sys.stderr.flush()
                self._open = True
            else:
                note(line)

    def end(self) -> None:
        if self._open:
            sys.stderr.write("\n")
            self._open = False


def _line(progress: Progress, rate: float) -> str:
    share = progress.done / progress.total if progress.total else 0.0
    what = f"{_WORDS[progress.stage]} the local model"
    if progress.stage == "waiting":
        return f"{what[: len(_WORDS['waiting'])]} that is fetching the local model"
    bar = "█" * round(share * _BAR)
    if progress.stage in ("preparing", "trying"):
        return f"{what}, once {bar:·<{_BAR}} {share:4.0%}"
    line = f"{what} {bar:·<{_BAR}} {share:4.0%} of {size(progress.total)}"
    if rate > 0 and progress.stage != "checking":
        left = (progress.total - progress.done) / rate
        line += f", {size(rate)}/s, {left // 60:.0f}:{left % 60:02.0f} left"
    return line
