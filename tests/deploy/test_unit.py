"""The systemd unit, judged by systemd."""

from __future__ import annotations

import configparser
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def unit(deploy: Path, tmp_path: Path) -> Path:
    """The unit with a program that is there, for systemd looks."""
    text = (deploy / "roost.service").read_text()
    assert text.count("/opt/roost/bin/roost-start ") == 1
    path = tmp_path / "roost.service"
    path.write_text(text.replace("/opt/roost/bin/roost-start ", "/bin/true "))
    return path


def service(deploy: Path) -> configparser.SectionProxy:
    class Last(dict[str, str]):
        """systemd lets an option be given several times."""

    parser = configparser.RawConfigParser(strict=False, dict_type=Last, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string((deploy / "roost.service").read_text())
    return parser["Service"]


def test_systemd_takes_it(unit: Path, tool: Callable[[str], str]) -> None:
    done = subprocess.run([tool("systemd-analyze"), "verify", str(unit)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_finds_it_held_tight(unit: Path, tool: Callable[[str], str]) -> None:
    """3.7 of 10; what is left off is for the sandboxes, and said in the unit."""
    command = [tool("systemd-analyze"), "security", "--offline=true", "--threshold=40", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-300:]


def test_stopping_leaves_steps_their_time(deploy: Path) -> None:
    from roost.server.daemon import Options

    found = service(deploy)
    assert found["KillMode"] == "mixed", "a TERM to the whole group would cut the commands of agents"
    assert int(found["TimeoutStopSec"]) >= 2 * Options().grace + 10
    assert found["Type"] == "exec", "the daemon does not notify"
    assert found["OOMPolicy"] == "continue"


def test_sandboxes_can_still_be_made(deploy: Path) -> None:
    found = service(deploy)
    for option in ("RestrictNamespaces", "ProtectKernelTunables", "ProtectKernelLogs", "ProtectProc", "ProcSubset",
                   "ProtectControlGroups", "ProtectHostname", "PrivateDevices", "MemoryDenyWriteExecute"):  # fmt: skip
        assert option not in found
    allowed = found["SystemCallFilter"].split()
    assert {"@mount", "ptrace", "seccomp", "landlock_restrict_self"} <= set(allowed)
    assert "AF_NETLINK" in found["RestrictAddressFamilies"], "bubblewrap brings loopback up with it"


def test_secrets_are_credentials(deploy: Path) -> None:
    text = (deploy / "roost.service").read_text()
    assert re.findall(r"^LoadCredential=(\w+):/etc/roost/secrets/(\w+)$", text, re.MULTILINE) == [
        ("ROOST_STORE", "ROOST_STORE"),
        ("ROOST_TOKEN", "ROOST_TOKEN"),
    ]
