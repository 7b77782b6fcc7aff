"""A runtime that takes logs in, and what the tests read of files."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent
from roost.kernel.config import KernelConfig
from roost.runtime import Runtime
from roost.testing.scripted import ScriptedModel


class House:
    def __init__(self, runtime: Runtime, model: ScriptedModel, folder: Path) -> None:
        self.runtime, self.model, self.folder = runtime, model, folder

    async def through(self, path: Path, out: str) -> tuple[list[dict[str, Any]], Any, Any]:
        """In, and out again in the format `out`: the lines, and both reports."""
        brought = await self.runtime.exchange.read(path)
        target = self.folder / f"{path.stem}.{out}.jsonl"
        report = await self.runtime.exchange.write(brought.session.id, target, format=out)  # type: ignore[arg-type]
        return lines_of(target), brought, report


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    model = ScriptedModel(lambda request: "I go on.")
    config = KernelConfig(linger=0.05, scan=0.2, lease=3.0)
    async with Runtime(tmp_path / "home", agents=[Agent("assistant", model=model)], config=config) as runtime:
        yield House(runtime, model, tmp_path)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
