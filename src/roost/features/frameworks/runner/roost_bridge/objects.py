"""Find the object that an agent's definition names: an agent, what makes one, or a whole script."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import io
import runpy
import sys
from typing import Any


def imported(object_name: str) -> Any:
    """Return what `module:attribute` names. `module:__main__` is the module as a script."""
    module, _, attribute = object_name.partition(":")
    if attribute == "__main__":
        return Script(module)
    found: Any = importlib.import_module(module)
    for name in attribute.split("."):
        found = getattr(found, name)
    return found


async def made(named: Any) -> Any:
    """Return the agent: `named` itself, or what it makes when it is called without arguments."""
    if inspect.isfunction(named) or inspect.isclass(named) or inspect.ismethod(named):
        named = named()
    return await named if inspect.isawaitable(named) else named


class Script:
    """A module that is run once in each turn, as `python -m` does. It finds the message in `sys.argv[1]`, and what it
    prints is the answer."""

    def __init__(self, module: str) -> None:
        self._module = module

    async def run(self, text: str, memory: list[Any]) -> tuple[str, list[Any]]:
        said = await asyncio.to_thread(self._printed, text)
        return said, [*memory, {"role": "user", "content": text}, {"role": "assistant", "content": said}]

    def _printed(self, text: str) -> str:
        printed = io.StringIO()
        sys.argv = [self._module, text]
        with contextlib.redirect_stdout(printed):
            try:
                runpy.run_module(self._module, run_name="__main__", alter_sys=True)
            except SystemExit as end:
                if end.code not in (None, 0):
                    raise RuntimeError(f"the script ended with {end.code}") from end
        return printed.getvalue().strip()
