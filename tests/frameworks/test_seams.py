"""Where the adapters put their gate, in versions of a framework that have it elsewhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

from roost.features.frameworks.installations import RUNNER

_INSTALL = """
import sys, types
class Known:
    async def call_tool(self, name, tool_args, ctx, tool): ...
def module(name, **members):
    made = sys.modules[name] = types.ModuleType(name)
    vars(made).update(members)
own, server = type("Own", (Known,), {}), type("Server", (Known,), {})
module("pydantic_ai")
module("pydantic_ai.toolsets", FunctionToolset=own)
module("pydantic_ai.mcp", **{sys.argv[2]: server})
sys.path.insert(0, sys.argv[1])
from roost_bridge.adapters import pydantic_ai
pydantic_ai.install()
assert hasattr(own.call_tool, "__wrapped__") and hasattr(server.call_tool, "__wrapped__")
"""


@pytest.mark.parametrize(("name", "known"), [("MCPToolset", True), ("MCPServer", True), ("Renamed", False)])
def test_tools_of_mcp_servers_of_pydantic_ai_are_gated_or_it_does_not_start(name: str, known: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INSTALL, str(RUNNER), name], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode == 0) == known, done.stderr
    assert known or "is not known" in done.stderr
