"""Values in the output of commands, from a list of ways to let them out: which are masked, and which are not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from roost.policy.vault import Vault

_CORPUS = Path(__file__).with_name("corpus") / "secrets.txt"
VALUE = "k9/Zt+7q=Lm2'xW8vRt5<yUi0"


def _cases() -> list[tuple[str, str]]:
    lines = [line for line in _CORPUS.read_text().splitlines() if line and not line.startswith("#")]
    return [(expected, text) for expected, _, text in (line.partition("\t") for line in lines)]


@pytest.mark.parametrize(("expected", "command"), _cases())
def test_what_is_masked_and_what_is_not(expected: str, command: str, tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin:/bin", "K": VALUE, "LANG": "C.UTF-8"}
    done = subprocess.run(["bash", "-c", command], env=env, cwd=tmp_path, capture_output=True, check=False, timeout=60)
    said = (done.stdout + done.stderr).decode(errors="replace")
    clean = Vault({"NAME": VALUE, "OTHER": "0123456789abcdef"}).scrub(said)
    assert said.strip()
    assert VALUE not in clean
    assert ("[secret:NAME]" in clean) == (expected == "masked"), (said, clean)
