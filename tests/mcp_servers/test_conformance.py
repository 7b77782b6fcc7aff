"""The official conformance suite of MCP against Roost's client. `.ci/machine` installs it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
from tests.doors import test_mcp_conformance as server_role

needs_suite = server_role.needs_suite
ROOT = Path(__file__).parents[2]
_LINE = re.compile(r"^\s*([✓✗])\s+(\S+?):? .*?(\d+) passed, (\d+) failed", re.MULTILINE)
EXCEPTIONS = {
    "auth/enterprise-managed-authorization": "exchanges tokens of a company's identity provider; not built",
    "auth/dpop": "binds tokens to a key, by a draft of an extension; not built",
    "auth/dpop-nonce": "as auth/dpop",
    "auth/wif-jwt-bearer": "exchanges the identity of a workload; not built",
    "sep-2640-client-no-prefetch": "skills over MCP; Roost uses the tools of servers",
    "sep-2640-client-verify-digest": "as sep-2640-client-no-prefetch",
    "sep-2640-client-verify-size": "as sep-2640-client-no-prefetch",
    "sep-2640-client-verify-frontmatter": "as sep-2640-client-no-prefetch",
}
OLDER = ("auth/2025-03-26-oauth-metadata-backcompat", "auth/2025-03-26-oauth-endpoint-fallback")


async def suite(folder: Path, *options: str) -> tuple[int, str]:
    command = [
        server_role.NODE,
        server_role.SUITE,
        "client",
        "--command",
        f"{sys.executable} -m tests.doors.mcp_client",
    ]
    running = await asyncio.create_subprocess_exec(
        *map(str, [*command, "-o", folder, "--timeout", "120000", *options]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
    )
    output, _ = await running.communicate()
    return running.returncode or 0, output.decode()


async def known(folder: Path) -> set[str]:
    running = await asyncio.create_subprocess_exec(
        *map(str, [server_role.NODE, server_role.SUITE, "list"]), stdout=asyncio.subprocess.PIPE, cwd=folder
    )
    output, _ = await running.communicate()
    _, _, listed = output.decode().partition("Client scenarios")
    return set(re.findall(r"^  - (\S+) \[", listed.partition("Authorization server")[0], re.MULTILINE))


@needs_suite
@pytest.mark.timeout(900)
@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
async def test_the_client_passes_every_scenario_of_its_revisions(tmp_path, revision):
    code, output = await suite(tmp_path, "--requirements", revision, "--expected-failures", str(baseline(tmp_path)))
    if code == 0:
        return
    unexpected = output.partition("Unexpected failures (not in baseline)")[2]
    failed = re.findall(r"✗ (\S+)", unexpected)
    assert failed, output[-6000:]
    for scenario in failed:  # each counts alone: the suite runs all at once, and waits for none on a busy machine
        code, again = await suite(tmp_path / "again", "--scenario", scenario, "--spec-version", revision)
        assert code == 0, again[-6000:]


def baseline(folder: Path) -> Path:
    path = folder / "expected.yml"
    path.write_text("client:\n" + "".join(f"  - {name}\n" for name in EXCEPTIONS))
    return path


@needs_suite
@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", [*OLDER, "auth/client-credentials-basic", "auth/client-credentials-jwt"])
async def test_the_client_passes_what_no_list_of_a_revision_has(tmp_path, scenario):
    code, output = await suite(tmp_path, "--scenario", scenario)
    assert code == 0, output[-3000:]


@needs_suite
async def test_each_exception_is_a_scenario(tmp_path):
    assert await known(tmp_path) >= set(EXCEPTIONS)
