"""`isolation` in an agent's file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from roost.agent.agent_files import load_agent_file, load_agent_files
from roost.agent.definition import decode_spec, encode_spec
from roost.errors import ConfigError
from roost.sandbox.backend import Bounds
from roost.sandbox.choose import Isolation

DOC = Path(__file__).parents[2] / "docs" / "guides" / "isolation.md"


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert example is not None
    (tmp_path / "a.toml").write_text(example[1])
    (found,) = load_agent_file(tmp_path / "a.toml")
    spec = found.agent.spec
    bounds = Bounds(
        memory_bytes=2**30,
        cpus=2.0,
        pids=128,
        disk_bytes=2**28,
        workspace_bytes=20 * 2**30,
        workspace_files=2_000_000,
    )
    assert spec.isolation == Isolation(required=1, prefers=2, hosts=("pypi.org", "*.example.com:443"), bounds=bounds)
    assert decode_spec(encode_spec(spec)) == spec


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[isolation]\nrequired = 3\n", "isolation.required"),
        ("[isolation]\nlevel = 1\n", "level"),
        ("[isolation.bounds]\nmemory = 1\n", "memory"),
        ("[isolation]\nhosts = 'x'\n", "isolation.hosts"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_agent_file(tmp_path / "a.toml")


@pytest.mark.parametrize("bound", ["workspace_bytes = -1", "workspace_bytes = 0", "workspace_bytes = 1e23",
                                   "memory_bytes = 99999999999999999999999",
                                   "workspace_files = 0", "memory_bytes = -5", "memory_bytes = 0", "cpus = -1",
                                   "cpus = 0", "cpus = nan", "cpus = inf", "pids = 0", "disk_bytes = 0"])  # fmt: skip
def test_bounds_that_no_kernel_takes(tmp_path: Path, bound: str) -> None:
    (tmp_path / "a.toml").write_text(f"[isolation.bounds]\n{bound}\n")
    with pytest.raises(ConfigError, match=rf"a\.toml.*isolation\.bounds.*{bound.split()[0]}"):
        load_agent_file(tmp_path / "a.toml")


@pytest.mark.parametrize("text", ["prefers = 0", "hosts = ['a.example']", "bounds.memory_bytes = 9999999999"])
def test_a_file_that_comes_with_a_folder_may_not_loosen_it_unasked(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_text(f"[isolation]\n{text}\n")
    assert len(load_agent_files([tmp_path])) == 1
    with pytest.raises(ConfigError, match="kept from"):
        load_agent_files([tmp_path], found=[tmp_path])
