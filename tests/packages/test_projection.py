"""The agents of accepted packages are in force after a crash between an acceptance and the files."""

from __future__ import annotations

import asyncio
from pathlib import Path

from roost.agent.definition import Agent
from roost.features.packages.archive import PackageFile
from roost.features.packages.duties import PackageDuties
from roost.testing.scripted import ScriptedModel

from ..kernel.support import running
from .support import archive


async def test_a_start_writes_the_agents_of_packages(tmp_path: Path) -> None:
    agent, files = Agent("a", model=ScriptedModel([])), tmp_path / "packages" / "agents"

    async def names_are(*wanted: str) -> None:
        async with asyncio.timeout(60):
            while (sorted(path.name for path in files.iterdir()) if files.is_dir() else []) != [*wanted]:
                await asyncio.sleep(0.01)

    async with running(tmp_path, agent) as runtime:
        packages = runtime.node.feature(PackageDuties).packages
        made = await packages.install(archive(agents__clerk_md=PackageFile(b"---\n---\nx")), source="")
        assert made.waiting is not None
        await packages.accept("tools", made.waiting.digest)  # and the process dies before it writes the agent
        assert not files.exists()
    async with running(tmp_path, agent) as runtime:
        await names_are("clerk.md")
        await runtime.node.feature(PackageDuties).packages.uninstall("tools")  # and dies again
    async with running(tmp_path, agent) as runtime:
        await names_are()
